"""Files as accidents and attackers leave them: bytes flipped, cut, doubled, and numbers set to their extremes."""

from __future__ import annotations

import numpy as np

EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0")
HEAD = 256
"""Bytes in which most of what a format says of itself stands: half of all changes fall into them."""


def mutated(content: bytes, seed: int) -> bytes:
    """The content with one to four changes; the same seed gives the same ones."""
    dice, changed = np.random.default_rng(seed), bytearray(content)
    for _ in range(int(dice.integers(1, 5))):
        if len(changed) < 2:
            break
        reach = min(HEAD, len(changed)) if dice.random() < 0.5 else len(changed)
        at, many = int(dice.integers(reach)), int(dice.integers(1, 64))
        kind = int(dice.integers(7))
        if kind == 0:
            changed[at] ^= 1 << int(dice.integers(8))
        elif kind == 1:
            changed[at : at + many] = dice.bytes(many)
        elif kind == 2:
            changed[at : at + 4] = EXTREMES[int(dice.integers(len(EXTREMES)))]
        elif kind == 3:
            del changed[at : at + many]
        elif kind == 4:
            changed[at:at] = changed[at : at + many]
        elif kind == 5:
            del changed[int(dice.integers(len(changed))) :]
        else:
            changed[at : at + many] = bytes(len(changed[at : at + many]))
    return bytes(changed)
