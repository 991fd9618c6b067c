"""The page, derived from the tables."""
