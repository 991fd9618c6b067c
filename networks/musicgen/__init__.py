"""MusicGen: a language model over the tokens of EnCodec, which makes instrumentals from words and from a melody."""
