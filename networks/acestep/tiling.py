"""How the VAE works through long audio in tiles that equal the whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import mul
from typing import TypeVar

from core.events import Progress, Stage

Item = TypeVar("Item")
Part = TypeVar("Part")

TILE_S = 10
"""Seconds of audio per tile: about 1 GB of activations in float32 for the 169 M parameter VAE."""

DILATIONS = (1, 3, 9)
KERNEL = 7
"""The dilations of an Oobleck block's residual units, and the width of its convolutions."""


@dataclass(frozen=True)
class Tile:
    """Frames `[start, stop)` of the result, made from frames `[left, right)` of the input."""

    start: int
    stop: int
    left: int
    right: int

    def source(self, hop: int = 1) -> slice:
        """The part of the whole input to work on, in samples of `hop` per frame."""
        return slice(self.left * hop, self.right * hop)

    def result(self, hop: int = 1) -> slice:
        """The part to keep of what that input gives, in samples of `hop` per frame."""
        return slice((self.start - self.left) * hop, (self.stop - self.left) * hop)


def receptive_frames(ratios: Sequence[int]) -> int:
    """Latent frames on either side that influence one frame of an Oobleck VAE with these strides, rounded up.

    The sum over its layers of half a kernel at that layer's rate: kernels of 7 at both ends, at every rate three
    units with dilations 1, 3, 9, and strided layers that reach one frame of the lower rate aside. The encoder
    mirrors the decoder, whose rates are the products of the reversed strides.
    """
    rates = list(accumulate(reversed(ratios), mul, initial=1))
    half = KERNEL // 2
    strided = sum(1 / rate for rate in rates[:-1])
    units = sum(half * sum(DILATIONS) / rate for rate in rates[1:])
    return math.ceil(half + strided + units + half / rates[-1])


def tiles(frames: int, size: int, margin: int) -> Iterator[Tile]:
    """Tiles of at most `size` frames that cover `frames`, each made from `margin` frames more on either side."""
    count = max(1, math.ceil(frames / size))
    edges = [round(index * frames / count) for index in range(count + 1)]
    for start, stop in pairwise(edges):
        yield Tile(start, stop, max(0, start - margin), min(frames, stop + margin))


def tiled(
    stage: Stage, items: Sequence[Item], cut: Sequence[Tile], make: Callable[[Item, Tile], Part]
) -> Generator[Progress, None, list[list[Part]]]:
    """Progress between two tiles; returns what `make` gives of every tile of each item."""
    made: list[list[Part]] = []
    for number, item in enumerate(items):
        made.append([])
        for index, tile in enumerate(cut):
            if done := number * len(cut) + index:
                yield Progress(stage, done, len(items) * len(cut))
            made[-1].append(make(item, tile))
    return made
