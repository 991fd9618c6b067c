"""Audio codes of nano: latents to one number per 40 ms and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.loop import TrainingSettings, load_average, train
from training.networks import CODE_FRAMES, audio_detokenizer, audio_tokenizer
from training.pairs import Pool, crop, encoder
from training.vae import load_vae


class Codes(nn.Module):
    """The tokenizer and the detokenizer together: latents `(B, T, 16)` through the bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = audio_tokenizer()
        self.detokenizer = audio_detokenizer()
        plain = self.tokenizer.quantizer._quantize
        # Rounding has no slope: gradients pass it straight through (van den Oord et al., 2017).
        self.tokenizer.quantizer._quantize = lambda x: x + (plain(x) - x).detach()

    def forward(self, latents: Tensor) -> Tensor:
        """The latents as the codes give them back; T must be a multiple of 4."""
        quantised, _ = self.tokenizer.tokenize(latents)
        return self.detokenizer(quantised)


def train_codes(rank: int, folder: Path, minutes: float) -> None:
    """Train the codes, as process `rank` of several; the weights end up in `folder / "codes.pt"`."""
    rng = np.random.default_rng(200 + rank)
    compact, scale = load_vae(folder)
    pool = Pool(6000 + rank, encoder(compact.encode, scale.mean, scale.std), start=40, interval=20, limit=200)
    torch.manual_seed(200)
    model = Codes()
    window = 10 * CODE_FRAMES

    def loss() -> Tensor:
        crops = []
        for pair in pool.draw(32):
            source = pair.sketch if rng.random() < 0.25 else pair.made
            crops.append(crop(source, int(rng.integers(len(source) - window)), window))
        latents = torch.stack(crops)
        return (model(latents) - latents).square().mean()

    @torch.no_grad()
    def report() -> str:
        latents = torch.stack([pair.made[:400].float() for pair in pool.pairs[:16]])
        return f"error {(model(latents) - latents).square().mean() / latents.var():.3f} of the variance"

    train(model, loss, TrainingSettings(minutes, 2e-3, folder / "codes.pt"), rank, report)


def load_codes(folder: Path) -> Codes:
    """The trained codes of `folder`."""
    codes = Codes()
    load_average(folder / "codes.pt", codes)
    return codes
