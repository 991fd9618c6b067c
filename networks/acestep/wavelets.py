"""One level of an orthogonal wavelet transform along time: what changes slowly and what quickly, apart.

A wavelet is its scaling filter; the filters stand in wavelets.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor


@cache
def filters() -> Mapping[str, Sequence[float]]:
    """The scaling filter of each wavelet, by name; an even number of taps."""
    found: Mapping[str, Sequence[float]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return found


def _pair(wavelet: str) -> tuple[Sequence[float], Sequence[float]]:
    """The filters of the low and the high band: the second is the first backwards with every other sign turned."""
    low = filters()[wavelet]
    return low, [(-1) ** index * tap for index, tap in enumerate(reversed(low))]


def split(x: Tensor, wavelet: str) -> tuple[Tensor, Tensor]:
    """The low and the high band `(B, K, C)` of `x` `(B, T, C)`, with silence before and after it."""
    low, high = _pair(wavelet)
    taps, frames = len(low), x.shape[1]
    count = (frames + taps - 1) // 2
    padded = torch.nn.functional.pad(x, (0, 0, taps - 2, taps - 2 + frames % 2))

    def band(weights: Sequence[float]) -> Tensor:
        parts = (weight * padded[:, tap : tap + 2 * count - 1 : 2] for tap, weight in enumerate(weights))
        return sum(parts, start=torch.zeros_like(padded[:, :count]))

    return band(low), band(high)


def join(low: Tensor, high: Tensor, wavelet: str, frames: int) -> Tensor:
    """The `(B, frames, C)` whose bands these are: undoes `split`."""
    bands = list(zip((low, high), _pair(wavelet), strict=True))
    taps, count = len(filters()[wavelet]), low.shape[1]
    x = low.new_zeros(low.shape[0], 2 * count + taps - 2, low.shape[2])
    for band, weights in bands:
        for tap, weight in enumerate(weights):
            x[:, tap : tap + 2 * count - 1 : 2] += weight * band
    return x[:, taps - 2 : taps - 2 + frames]
