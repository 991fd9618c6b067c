"""The tokenizer of a checkpoint's text encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from core.errors import CheckpointError
from networks.acestep.prompts import fit_lyrics, fit_text
from networks.acestep.weights import REPAIR

Ids = list[int]
Span = tuple[int, int]
_Fit = Callable[[str, Callable[[str], Ids]], Ids]


class PromptTokenizer:
    """A checkpoint's tokenizer as stored, except that it neither cuts nor pads: `fit_text` and `fit_lyrics` do."""

    def __init__(self, file: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(f"{file.name} is missing in {file.parent}.", REPAIR) from None
        except Exception as broken:  # the library raises no narrower kind
            raise CheckpointError(f"{file} is no tokenizer: {broken}.", REPAIR) from broken
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def text_ids(self, text: str) -> Ids:
        """The token ids of a text prompt."""
        return self._fitted(fit_text, text)

    def lyric_ids(self, lyrics: str) -> Ids:
        """The token ids of lyrics."""
        return self._fitted(fit_lyrics, lyrics)

    def lyric_offsets(self, lyrics: str) -> list[Span]:
        """Where each token of the lyrics begins and ends in them, in characters."""

        def offsets(part: str) -> list[Span]:
            # Lyrics that are too long come in two parts, of which the second ends them.
            before = len(lyrics) - len(part) if lyrics.endswith(part) else 0
            return [(before + start, before + stop) for start, stop in self._tokenizer.encode(part).offsets]

        return fit_lyrics(lyrics, offsets)

    def _fitted(self, fit: _Fit, text: str) -> Ids:
        return fit(text, lambda part: self._tokenizer.encode(part).ids)
