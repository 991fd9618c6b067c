"""A classifier of styles for the evaluation: reads latents, trained on the composer's renderings alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from planner.composer.instruments import Wave
from planner.composer.styles import styles
from training.captions import draw_lyrics
from training.synthesis import draw_score, styled
from training.vae import LATENTS

_NAMES = tuple(styles())
_CROP = 400
_STEPS = 500


class _Pool(nn.Module):
    """Mean and deviation over time, `(B, 2C)` of `(B, C, T)`."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(2), x.std(2)], 1)


class StyleClassifier:
    """Names the style of latents `(T, 16)`; trained in a few seconds on `pieces` random pieces of each style.

    `encode` is the autoencoder under test, waveform `(2, S)` to latents `(T, 16)`.
    """

    def __init__(self, encode: Callable[[Wave], Tensor], pieces: int = 20) -> None:
        rng = np.random.default_rng(555)
        latents = torch.stack(
            [
                encode(styled(draw_score(rng, 10.0, style, draw_lyrics(rng)), style)).T
                for style in _NAMES
                for _ in range(pieces)
            ]
        )
        labels = torch.arange(len(_NAMES)).repeat_interleave(pieces)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self._model = self._trained(latents, labels)

    def style(self, latents: Tensor) -> str:
        """The most likely of the eight styles."""
        with torch.no_grad():
            return _NAMES[int(self._model(latents.float().T[None]).argmax())]

    @staticmethod
    def _trained(latents: Tensor, labels: Tensor) -> nn.Module:
        """A small convolutional network over time, trained on noisy crops."""
        model = nn.Sequential(
            nn.Conv1d(LATENTS, 64, 9, 2, 4), nn.GELU(), nn.Conv1d(64, 64, 5, 2, 2), nn.GELU(), _Pool(),
            nn.Dropout(0.3), nn.Linear(128, len(_NAMES)),
        )  # fmt: skip
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05)
        for _ in range(_STEPS):
            chosen = torch.randint(len(latents), (32,))
            first = int(torch.randint(latents.shape[2] - _CROP, ()))
            crops = latents[chosen, :, first : first + _CROP]
            loss = nn.functional.cross_entropy(model(crops + 0.1 * torch.randn_like(crops)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return model.eval()
