"""Adapters: read, checked against a checkpoint, and found on this machine."""
