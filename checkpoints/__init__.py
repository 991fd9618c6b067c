"""Weights: the table, where they lie, how they come and go."""
