"""What may be heard of a song before it is done: how often, and how much of it, at a bounded cost."""

from __future__ import annotations

from dataclasses import dataclass

SHARE = 0.1
"""Of the time that a song takes, previews take no more: by the estimate, and from the second one on by the clock."""

SHORTEST_S, LONGEST_S = 2.0, 10.0
"""How much of a song a preview holds; the longest is one tile of the decoder, whose memory is there anyway."""

FEW, MOST = 3, 8
"""So many shorter previews are better than fewer longer ones; more of them nobody could listen to."""


_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Previews:
    """So many previews of a song, each of so many seconds of it."""

    count: int = 0
    seconds: float = 0.0

    def steps(self, total: int) -> frozenset[int]:
        """The steps of a denoising, counted from 1, after which there is one: evenly spread, never the last."""
        spread = (round(total * place / (self.count + 1)) for place in range(1, self.count + 1))
        return frozenset(step for step in spread if 0 < step < total)


NO_PREVIEWS = Previews()


def affordable(decoded_s: float, song_s: float) -> Previews:
    """The previews of a song of that length, of which so many seconds in all may be decoded."""
    seconds = min(song_s, max(SHORTEST_S, min(LONGEST_S, decoded_s / FEW)))
    return Previews(count=min(MOST, int(decoded_s / seconds + _ROUNDING)), seconds=seconds)
