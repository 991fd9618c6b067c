"""What is kept: tracks and sidecars, audio files, and what can be heard in them."""
