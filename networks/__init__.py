"""The framework wall: every network, and nothing above it that knows a framework."""
