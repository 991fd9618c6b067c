"""The 5 Hz language model as a planner and as a drafter."""
