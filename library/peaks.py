"""The waveform of a song in few numbers: enough to draw it without reading its audio."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Waveform = NDArray[np.float32]

COLUMNS = 400
LOUDEST = 255


def of(waveform: Waveform) -> str:
    """The peaks of a waveform `(C, S)`: base64 of a byte for each of `COLUMNS` spans of equal length, at most.

    255 is full scale. Empty where there are no samples.
    """
    samples = waveform.shape[1]
    if not samples:
        return ""
    edges = np.unique(np.linspace(0, samples, COLUMNS, endpoint=False).astype(int))
    high = np.maximum.reduceat(waveform, edges, axis=1).max(axis=0)
    low = np.minimum.reduceat(waveform, edges, axis=1).min(axis=0)
    scaled = np.rint(np.maximum(high, -low).clip(0, 1) * LOUDEST)
    return b64encode(scaled.astype(np.uint8).tobytes()).decode()


def of_file(path: Path) -> str:
    """The peaks of a wav file, as `of` gives them. Raises OSError or soundfile.SoundFileError."""
    return of(soundfile.read(path, dtype="float32", always_2d=True)[0].T)
