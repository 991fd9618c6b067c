"""A picture of a song: its spectrum over time as a range of hills, in the greys of the page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from core.tables import SAMPLE_RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Waveform = NDArray[np.float32]
    Floats = NDArray[np.float64]

SIZE = 512
"""Width and height in pixels."""

GROUND, INK, WHITE = 0x0A, 0xE5, 0xFF
"""The page's black, text and primary white as grey levels; a test holds them against the theme."""

_FINE = 2
"""Pixels drawn for one that is kept, in each direction: what is scaled down has smooth edges."""

_RIDGES = (28, 40)
_POINTS = 144
_MARGIN = 0.13
_HEIGHT = 0.18
_WINDOW = 16_384
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 12_000.0
_TILT_DB = 3.0
"""What an octave is turned up by against the one below: music is quieter the higher it sounds."""

_RANGE_DB = 40.0
_GREYS = 16


def cover_of(audio: Waveform, seed: int) -> bytes:
    """A PNG of a recording `(2, S)`, the same whenever recording and seed are.

    Each ridge is a moment, the first at the top, low sounds in its middle and high ones at its sides. The seed says how
    many there are, how they waver and which one is lit.
    """
    from PIL import Image, ImageDraw

    choice = np.random.default_rng(seed)
    count = int(choice.integers(*_RIDGES, endpoint=True))
    lit = int(choice.integers(count))
    edge = SIZE * _FINE
    image = Image.new("L", (edge, edge), GROUND)
    draw = ImageDraw.Draw(image)
    across = np.linspace(_MARGIN, 1 - _MARGIN, _POINTS) * edge
    bases = np.linspace(_MARGIN + _HEIGHT * 0.6, 1 - _MARGIN, count) * edge
    wavering = choice.uniform(0.4, 1.0, (count, _POINTS))
    ridges = _softened(_ridges(audio, count) * wavering)
    for number, (base, heights) in enumerate(zip(bases, ridges, strict=True)):
        line = list(zip(across.tolist(), (base - heights * _HEIGHT * edge).tolist(), strict=True))
        draw.polygon([*line, (across[-1], base + _FINE), (across[0], base + _FINE)], fill=GROUND)
        colour, width = (WHITE, 5) if number == lit else (INK, 3)
        draw.line(line, fill=colour, width=width, joint="curve")
    small = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    # A few greys are enough for lines, and make the picture a third as large.
    png = io.BytesIO()
    small.quantize(_GREYS, dither=Image.Dither.NONE).save(png, "PNG", optimize=True)
    return png.getvalue()


def _ridges(audio: Waveform, count: int) -> Floats:
    """Heights `(count, points)` from 0 to 1 of moments that are spread over the recording."""
    mono = np.nan_to_num(audio.mean(axis=0, dtype=np.float64))
    starts = np.linspace(0, max(mono.size - _WINDOW, 0), count).astype(int)
    limits = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, _POINTS // 2 + 1) * _WINDOW / SAMPLE_RATE
    hann = np.hanning(_WINDOW)
    heights = np.zeros((count, _POINTS // 2))
    for ridge, start in zip(heights, starts, strict=True):
        moment = mono[start : start + _WINDOW]
        power = np.abs(np.fft.rfft(np.pad(moment, (0, _WINDOW - moment.size)) * hann)) ** 2
        sums = np.concatenate([[0.0], np.cumsum(power)])
        bands = np.diff(np.interp(limits, np.arange(sums.size), sums)) / np.diff(limits)
        ridge[:] = 10 * np.log10(bands + 1e-12) + (_TILT_DB + 3) * np.log2(limits[1:] / limits[0])
    heights = np.clip((heights - heights.max() + _RANGE_DB) / _RANGE_DB, 0, None) ** 2
    both = np.concatenate([heights[:, ::-1], heights], axis=1)
    return both * np.hanning(_POINTS + 2)[1:-1]


def _softened(ridges: Floats) -> Floats:
    """The ridges without the corners between two points."""
    kernel = np.hanning(7)[1:-1] / np.hanning(7).sum()
    return np.stack([np.convolve(ridge, kernel, mode="same") for ridge in ridges])
