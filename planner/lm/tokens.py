"""Tables of one vocabulary's tokens: which of them spell a field's values, audio codes, and harmless text."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from core.errors import CheckpointError
from core.tables import BPM, CODEBOOK, DURATION_S, KEYSCALES, LANGUAGES, TIME_SIGNATURES
from networks.lm.sampling import Ids
from networks.lm.vocabulary import Vocabulary
from planner.lm.prompts import code_name

VALUES: Mapping[str, tuple[str, ...]] = {
    "bpm": tuple(str(bpm) for bpm in range(BPM[0], BPM[1] + 1)),
    "duration": tuple(str(seconds) for seconds in range(DURATION_S[0], DURATION_S[1] + 1)),
    "keyscale": KEYSCALES,
    "language": LANGUAGES,
    "timesignature": TIME_SIGNATURES,
}
"""What each field but the caption may say."""

BANNED = b"`<"
"""What free text must not hold: the planner's fences, and the beginnings of control tokens spelled in letters."""


class TokenTables:
    """What may stand where, in ids of one vocabulary; each table is computed once, when it is first asked for."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._lines: dict[str, dict[tuple[int, ...], str]] = {}
        self._continuations: dict[tuple[bytes, bool], Ids] = {}

    @cached_property
    def codes(self) -> range:
        """The ids of the audio codes that mean something, in their order: there are more slots than such codes.

        Raises CheckpointError when the vocabulary has none, or has them out of order.
        """
        names, first = self.vocabulary.controls, self.vocabulary.control(code_name(0))
        count = 0
        while count < CODEBOOK and names.get(code_name(count)) == first + count:
            count += 1
        if count < CODEBOOK and code_name(count) in names:
            raise CheckpointError("The planner's audio codes do not lie in order.", "Choose another planner.")
        return range(first, first + count)

    def lines(self, field: str) -> Mapping[tuple[int, ...], str]:
        """The values of a field by the tokens of their whole line.

        The name is part of the line, for a token may lie across the seam, as `: C` does in some vocabularies.
        """
        if field not in self._lines:
            encode = self.vocabulary.encode
            self._lines[field] = {tuple(encode(f"{field}: {value}\n")): value for value in VALUES[field]}
        return self._lines[field]

    @cached_property
    def free_text(self) -> Ids:
        """Tokens of free text in lines, where no character is half written."""
        return self._tokens(lambda spelled: True)

    @cached_property
    def caption(self) -> Ids:
        """Tokens within a caption; some of them end a line."""
        return self._tokens(lambda spelled: b"\n" not in spelled[:-1])

    @cached_property
    def caption_line(self) -> Ids:
        """Those of a caption that do not end a line."""
        return self._tokens(lambda spelled: b"\n" not in spelled)

    @cached_property
    def caption_start(self) -> Ids:
        """Those that may begin a caption: a space, and something to be seen."""
        return self._tokens(lambda spelled: b"\n" not in spelled and spelled[:1] == b" " != spelled and spelled.strip())

    @cached_property
    def indentation(self) -> Ids:
        """Those that begin with a space and do not end the line: what follows the first space of an indentation."""
        return self._tokens(lambda spelled: b"\n" not in spelled and spelled[:1] == b" ")

    @cached_property
    def caption_line_start(self) -> Ids:
        """What may begin a further line of a caption: an indentation, or anything else, which ends the caption."""
        return self._tokens(
            lambda spelled: b"\n" not in spelled and (spelled == b" " or spelled[:2] == b"  " or spelled[:1] != b" ")
        )

    def continuations(self, partial: bytes, *, closing: bool) -> Ids:
        """The tokens that go on with the character that `partial` begins; with `closing`, those that hold no other."""
        key = (partial, closing)
        if key not in self._continuations:
            within = (0x80, 0xC0)
            fits = [
                token
                for token, spelled in enumerate(self.vocabulary.spelled)
                if spelled
                and within[0] <= spelled[0] < within[1]
                and is_text(partial + spelled)
                and _is_harmless(spelled)
                and b"\n" not in spelled
                and (not closing or all(within[0] <= byte < within[1] for byte in spelled))
            ]
            self._continuations[key] = np.array(fits, np.intp)
        return self._continuations[key]

    def _tokens(self, fits: Callable[[bytes], object]) -> Ids:
        spelled = self.vocabulary.spelled
        return np.array([token for token in self._harmless if fits(spelled[token] or b"")], np.intp)

    @cached_property
    def _harmless(self) -> tuple[int, ...]:
        controls = self.vocabulary.control_ids
        return tuple(
            token
            for token, spelled in enumerate(self.vocabulary.spelled)
            if spelled and token not in controls and _is_harmless(spelled) and is_text(spelled)
        )


def _is_harmless(spelled: bytes) -> bool:
    """Whether the bytes hold nothing that free text must not: nothing banned, no control characters but line breaks."""
    return not any(byte in BANNED or byte == 0x7F or (byte < 0x20 and byte != 0x0A) for byte in spelled)


def is_text(spelled: bytes) -> bool:
    """Whether the bytes begin a text, its last character perhaps unfinished."""
    if any(spelled[place] == 0xED and spelled[place + 1] >= 0xA0 for place in range(len(spelled) - 1)):
        return False  # half a surrogate pair, for whose end the decoder would wait in vain
    try:
        codecs.getincrementaldecoder("utf-8")().decode(spelled)
    except UnicodeDecodeError:
        return False
    return True
