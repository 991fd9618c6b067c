"""Words on their way into the networks: the tokenizer, and which items of a batch say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from core.errors import CheckpointError
from networks.acestep.prompts import fit_lyrics, fit_text
from networks.acestep.weights import REPAIR

if TYPE_CHECKING:
    from torch import Tensor

Ids = list[int]
_Fit = Callable[[str, Callable[[str], Ids]], Ids]


class Words:
    """A checkpoint's tokenizer as stored, except that it neither cuts nor pads: prompts.fit_text and fit_lyrics do."""

    def __init__(self, file: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(f"{file.name} is missing in {file.parent}.", REPAIR) from None
        except Exception as broken:  # the library raises no narrower kind
            raise CheckpointError(f"{file} is no tokenizer: {broken}.", REPAIR) from broken
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def text(self, text: str) -> Ids:
        """The tokens of a prompt."""
        return self._fitted(fit_text, text)

    def lyrics(self, text: str) -> Ids:
        """The tokens of lyrics."""
        return self._fitted(fit_lyrics, text)

    def _fitted(self, fit: _Fit, text: str) -> Ids:
        return fit(text, lambda words: self._tokenizer.encode(words).ids)


def distinct(
    texts: Sequence[str], lyrics: Sequence[str], references: Sequence[Tensor | None]
) -> list[tuple[str, str, Tensor | None]]:
    """(text, lyrics, reference) of every item; of the first alone when all are the same."""
    given = list(zip(texts, lyrics, references or [None] * len(texts), strict=True))
    same = all(text == texts[0] and words == lyrics[0] and timbre is given[0][2] for text, words, timbre in given)
    return given[:1] if same else given
