"""Nano's planner: a rule-based composer and its instruments."""
