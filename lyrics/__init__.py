"""Words for a song: the brief, the built-in writer, the language model, its cleanup and line counts."""
