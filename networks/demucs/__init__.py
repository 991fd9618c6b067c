"""Demucs: a song taken apart into its vocals, drums, bass and the rest."""
