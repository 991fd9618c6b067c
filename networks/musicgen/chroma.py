"""What MusicGen's melody checkpoints hear of a recording: the strongest pitch class of each moment.

The same as transformers' `MusicgenMelodyFeatureExtractor` without its separation of the vocals; that one asks for
torchaudio for a spectrogram alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.audio_utils import chroma_filter_bank


@dataclass(frozen=True, kw_only=True)
class ChromaShape:
    """The numbers of a checkpoint's `preprocessor_config.json`: samples a transform and a hop, classes, the rate."""

    n_fft: int = 16_384
    hop_length: int = 4_096
    num_chroma: int = 12
    sampling_rate: int = 32_000

    @classmethod
    def told(cls, configuration: Mapping[str, object]) -> ChromaShape:
        """Those that a configuration tells, the others as published."""
        numbers = {name: value for name, value in configuration.items() if isinstance(value, int)}
        return cls(**{name: numbers[name] for name in cls.__dataclass_fields__ if name in numbers})


def one_hot_chroma(wave: Tensor, shape: ChromaShape) -> Tensor:
    """For each hop of a waveform `(S,)` a row `(12,)` with a one at its strongest pitch class and zeros elsewhere."""
    if (lack := shape.n_fft - len(wave)) > 0:
        wave = F.pad(wave, (lack // 2, lack - lack // 2))
    spectrum = torch.stft(
        wave.float(),
        shape.n_fft,
        shape.hop_length,
        window=torch.hann_window(shape.n_fft),
        center=True,
        return_complex=True,
    ).abs()
    filters = chroma_filter_bank(
        num_frequency_bins=shape.n_fft, num_chroma=shape.num_chroma, sampling_rate=shape.sampling_rate
    )
    strength = torch.from_numpy(filters).float() @ spectrum.square()
    return F.one_hot(strength.argmax(dim=0), shape.num_chroma).float()
