"""Words for a song: the brief, the built-in writer, the language model, and what tidies and counts them."""
