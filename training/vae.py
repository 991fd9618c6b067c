"""The autoencoder of nano: trained compact at 200 Hz, exported exactly into diffusers' AutoencoderOobleck.

A stock Oobleck spends most of its time at the full sample rate. Here its full-rate units are identities, which
leaves a 4.8M network whose first layer is a bank of 480-sample filters; `export` writes those identities out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderOobleck
from diffusers.models.autoencoders.autoencoder_oobleck import (
    OobleckDecoderBlock,
    OobleckEncoderBlock,
    OobleckResidualUnit,
    Snake1d,
)
from torch import Tensor, nn

from core.tables import SAMPLE_RATE
from networks.acestep.tiling import DILATIONS
from planner.composer.instruments import Wave
from training.captions import draw_lyrics
from training.loop import TrainingSettings, load_average, train
from training.measures import mel_distance, si_sdr
from training.synthesis import draw_score, draw_sound

LATENTS = 16
STRIDES = (240, 2)
_WIDTHS = (256, 512)
_FULL_RATE = 32
_SPECTRA = (256, 1024, 4096)


class CompactVae(nn.Module):
    """Waveforms `(B, 2, S)` to latents `(B, 16, S / 480)` and back, without the full-rate stages."""

    def __init__(self) -> None:
        super().__init__()
        wide, wider = _WIDTHS
        stride, halve = STRIDES
        self.analysis = nn.Conv1d(2, wide, 2 * stride, stride, padding=stride // 2)
        self.encoder = OobleckEncoderBlock(wide, wider, halve)
        self.encoder_snake = Snake1d(wider)
        self.to_latents = nn.Conv1d(wider, 2 * LATENTS, 3, padding=1)
        self.from_latents = nn.Conv1d(LATENTS, wider, 7, padding=3)
        self.decoder_snake = Snake1d(wider)
        self.upsample = nn.ConvTranspose1d(wider, wide, 2 * halve, halve, padding=halve // 2)
        self.units = nn.ModuleList(OobleckResidualUnit(wide, dilation) for dilation in DILATIONS)
        self.synthesis_snake = Snake1d(wide)
        self.synthesis = nn.ConvTranspose1d(wide, 2, 2 * stride, stride, padding=stride // 2)
        self._start_as_filter_bank()

    def encode(self, audio: Tensor) -> Tensor:
        """Latents `(B, 16, S / 480)` before they are standardised."""
        hidden = self.to_latents(self.encoder_snake(self.encoder(self.analysis(audio))))
        return hidden[:, :LATENTS]

    def decode(self, latents: Tensor) -> Tensor:
        """Waveforms `(B, 2, S)`."""
        hidden = self.upsample(self.decoder_snake(self.from_latents(latents)))
        for unit in self.units:
            hidden = unit(hidden)
        return self.synthesis(self.synthesis_snake(hidden))

    @torch.no_grad()
    def _start_as_filter_bank(self) -> None:
        """Windowed cosines and sines, denser below 9.6 kHz, two thirds of them on mid and one third on side."""
        stride, wide = STRIDES[0], _WIDTHS[0]
        n = torch.arange(2 * stride) + 0.5
        lines = torch.cat([torch.linspace(0, 96, 97)[:-1], torch.linspace(96, stride, 33)[:-1]]) + 0.5
        window = torch.sin(math.pi * n / (2 * stride)) * math.sqrt(2 / stride)
        phase = math.pi / stride * lines[:, None] * (n + stride / 2)
        bank = torch.cat([torch.cos(phase), torch.sin(phase)]) * window
        sides = torch.full((wide, 2), math.sqrt(0.5))
        sides[::3, 1] *= -1
        self.analysis.weight.copy_(sides[:, :, None] * bank[:, None])
        self.synthesis.weight.copy_(0.25 * sides[:, :, None] * bank[:, None])
        nn.init.zeros_(_bias(self.analysis))
        nn.init.zeros_(_bias(self.synthesis))


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each latent channel, `(16,)`, by which exported latents are standardised."""

    mean: Tensor
    std: Tensor


def spectral_loss(made: Tensor, true: Tensor) -> Tensor:
    """The distance of a rendering from the original: magnitudes, log magnitudes and compressed complex spectra.

    The mean over three STFT sizes and all channels, plus the distance of the waveforms `(B, C, S)` themselves:
    absolute, and relative to the level of each item.
    """
    loss = made.new_zeros(())
    for size in _SPECTRA:
        (a_re, a_im), (b_re, b_im) = _spectrum(made, size), _spectrum(true, size)
        a, b = _magnitude(a_re, a_im), _magnitude(b_re, b_im)
        convergence = (a - b).norm() / b.norm()
        log_distance = ((a + 1e-3).log() - (b + 1e-3).log()).abs().mean()
        shrink_a, shrink_b = a.rsqrt(), b.rsqrt()
        gap = _magnitude(a_re * shrink_a - b_re * shrink_b, a_im * shrink_a - b_im * shrink_b)
        loss = loss + convergence + 0.6 * log_distance + 0.3 * gap.mean() / b.sqrt().mean()
    error = made - true
    relative = error.flatten(1).norm(dim=1) / (true.flatten(1).norm(dim=1) + 1e-3)
    return loss / len(_SPECTRA) + 8.0 * error.abs().mean() + 2.0 * relative.mean()


def mid_side(audio: Tensor) -> Tensor:
    """Sum and difference of left and right, `(B, 2, S)`, scaled to keep the power."""
    left, right = audio.unbind(1)
    return math.sqrt(0.5) * torch.stack([left + right, left - right], 1)


def _spectrum(audio: Tensor, size: int) -> tuple[Tensor, Tensor]:
    window = torch.hann_window(size, device=audio.device)
    spectrum = torch.stft(audio.flatten(0, 1), size, size // 4, window=window, return_complex=True)
    return spectrum.real, spectrum.imag


def _magnitude(real: Tensor, imaginary: Tensor) -> Tensor:
    return (real.square() + imaginary.square() + 1e-9).sqrt()


def _write(layer: nn.Module, weight: Tensor, bias: Tensor | None = None) -> None:
    """Set a weight-normalised layer so that its effective weight is `weight`; all-zero rows get a zero gain."""
    norms = weight.flatten(1).norm(dim=1).view(-1, 1, 1)
    layer.weight_v.data = torch.where(norms > 0, weight, torch.ones_like(weight))
    layer.weight_g.data = norms
    if bias is not None:
        layer.bias.data = bias.clone()


def _bias(layer: nn.Conv1d | nn.ConvTranspose1d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _make_identity(block: OobleckEncoderBlock | OobleckDecoderBlock) -> None:
    """Switch off the residual branches of an Oobleck block; constant weights compress to nothing."""
    for unit in (block.res_unit1, block.res_unit2, block.res_unit3):
        for layer in (unit.conv1, unit.conv2):
            _write(layer, torch.zeros_like(layer.weight_v), torch.zeros_like(layer.bias))


def _make_linear(snake: Snake1d) -> None:
    """Make the activation an identity: x + sin(ax)^2 / b with a = exp(-30)."""
    snake.alpha.data.fill_(-30.0)
    snake.beta.data.zero_()


def _through(out_channels: int, in_channels: int) -> Tensor:
    """A width-7 kernel that passes the first two channels."""
    weight = torch.zeros(out_channels, in_channels, 7)
    weight[0, 0, 3] = weight[1, 1, 3] = 1.0
    return weight


@torch.no_grad()
def export(compact: CompactVae, scale: Scale) -> AutoencoderOobleck:
    """The same autoencoder as a stock module whose latents have zero mean and unit variance.

    The posterior is a spike (std 1e-4): the stock pipeline samples it, and a sample must equal the mode.
    """
    vae = AutoencoderOobleck(
        encoder_hidden_size=2 * LATENTS, downsampling_ratios=list(STRIDES), decoder_channels=_FULL_RATE,
        channel_multiples=[_WIDTHS[0] // _FULL_RATE, _WIDTHS[1] // _FULL_RATE], decoder_input_channels=LATENTS,
        sampling_rate=SAMPLE_RATE,
    )  # fmt: skip
    _export_encoder(compact, scale, vae)
    _export_decoder(compact, scale, vae)
    return vae.eval()


@torch.no_grad()
def compact_of(vae: AutoencoderOobleck) -> CompactVae:
    """The compact autoencoder that `export` wrote as `vae`; its latents are already standardised."""
    compact = CompactVae()
    (bank, encoder), (upsampler, synthesis) = vae.encoder.block, vae.decoder.block
    _fill(compact.analysis, effective_weight(bank.conv1)[:, :2], bank.conv1.bias)
    compact.encoder.load_state_dict(encoder.state_dict())
    compact.encoder_snake.load_state_dict(vae.encoder.snake1.state_dict())
    _fill(compact.to_latents, effective_weight(vae.encoder.conv2), vae.encoder.conv2.bias)
    _fill(compact.from_latents, effective_weight(vae.decoder.conv1), vae.decoder.conv1.bias)
    compact.decoder_snake.load_state_dict(upsampler.snake1.state_dict())
    _fill(compact.upsample, effective_weight(upsampler.conv_t1), upsampler.conv_t1.bias)
    for number, unit in enumerate(compact.units, start=1):
        unit.load_state_dict(getattr(upsampler, f"res_unit{number}").state_dict())
    compact.synthesis_snake.load_state_dict(synthesis.snake1.state_dict())
    _fill(compact.synthesis, effective_weight(synthesis.conv_t1)[:, :2], synthesis.conv_t1.bias[:2])
    return compact.eval()


def effective_weight(layer: nn.Module) -> Tensor:
    """The weight of a weight-normalised layer: `weight_g * weight_v / |weight_v|` (Salimans and Kingma, 2016)."""
    gain, direction = layer.get_parameter("weight_g"), layer.get_parameter("weight_v")
    return gain * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1)


def _fill(layer: nn.Conv1d | nn.ConvTranspose1d, weight: Tensor, bias: Tensor) -> None:
    layer.weight.data = weight.clone()
    _bias(layer).data = bias.clone()


def _export_encoder(compact: CompactVae, scale: Scale, vae: AutoencoderOobleck) -> None:
    first, second = vae.encoder.block
    _write(vae.encoder.conv1, _through(2 * LATENTS, 2), torch.zeros(2 * LATENTS))
    _make_identity(first)
    _make_linear(first.snake1)
    bank = torch.zeros(_WIDTHS[0], 2 * LATENTS, 2 * STRIDES[0])
    bank[:, :2] = compact.analysis.weight
    _write(first.conv1, bank, compact.analysis.bias)
    second.load_state_dict(compact.encoder.state_dict())
    vae.encoder.snake1.load_state_dict(compact.encoder_snake.state_dict())
    weight, bias = torch.zeros_like(compact.to_latents.weight), torch.full_like(_bias(compact.to_latents), -20.0)
    weight[:LATENTS] = compact.to_latents.weight[:LATENTS] / scale.std.view(-1, 1, 1)
    bias[:LATENTS] = (_bias(compact.to_latents)[:LATENTS] - scale.mean) / scale.std
    _write(vae.encoder.conv2, weight, bias)


def _export_decoder(compact: CompactVae, scale: Scale, vae: AutoencoderOobleck) -> None:
    first, second = vae.decoder.block
    weight = compact.from_latents.weight
    shift = (weight * scale.mean.view(1, -1, 1)).sum((1, 2))
    _write(vae.decoder.conv1, weight * scale.std.view(1, -1, 1), _bias(compact.from_latents) + shift)
    first.snake1.load_state_dict(compact.decoder_snake.state_dict())
    _write(first.conv_t1, compact.upsample.weight, compact.upsample.bias)
    for number, unit in enumerate(compact.units, start=1):
        getattr(first, f"res_unit{number}").load_state_dict(unit.state_dict())
    second.snake1.load_state_dict(compact.synthesis_snake.state_dict())
    bank = torch.zeros(_WIDTHS[0], _FULL_RATE, 2 * STRIDES[0])
    bank[:, :2] = compact.synthesis.weight
    bias = torch.zeros(_FULL_RATE)
    bias[:2] = _bias(compact.synthesis)
    _write(second.conv_t1, bank, bias)
    _make_identity(second)
    _make_linear(vae.decoder.snake1)
    _write(vae.decoder.conv2, _through(2, _FULL_RATE))


class _ClipPool:
    """A pool of freshly rendered clips, one of which is replaced every dozen draws."""

    def __init__(self, seed: int, size: int = 50, seconds: float = 8.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._seconds = seconds
        self._pool = [self._render() for _ in range(size)]
        self._draws = 0

    def _render(self) -> Wave:
        return draw_sound(draw_score(self._rng, self._seconds, lyrics=draw_lyrics(self._rng)), self._rng)

    def batch(self, count: int, samples: int) -> Tensor:
        """Random crops at random levels, `(count, 2, samples)`."""
        self._draws += 1
        if self._draws % 12 == 0:
            self._pool[self._rng.integers(len(self._pool))] = self._render()
        crops = []
        for _ in range(count):
            clip = self._pool[self._rng.integers(len(self._pool))]
            first = self._rng.integers(clip.shape[1] - samples)
            crops.append(clip[:, first : first + samples] * np.float32(self._rng.uniform(0.6, 1.1)))
        return torch.from_numpy(np.stack(crops))


def unseen_clips(count: int, seconds: float = 2.0) -> list[Wave]:
    """Clips that no training run draws, each from the middle of a longer piece, `(2, S)`."""
    rng = np.random.default_rng(999)
    pieces = (draw_sound(draw_score(rng, 2 * seconds, lyrics=draw_lyrics(rng)), rng) for _ in range(count))
    samples = round(seconds * SAMPLE_RATE)
    return [piece[:, samples // 2 : samples // 2 + samples] for piece in pieces]


def train_vae(rank: int, folder: Path, minutes: float) -> None:
    """Train the autoencoder, as process `rank` of several; the weights end up in `folder / "vae.pt"`."""
    torch.manual_seed(100)
    model, clips, unseen = CompactVae(), _ClipPool(5000 + rank), unseen_clips(12)
    torch.manual_seed(101 + rank)

    def loss() -> Tensor:
        true = clips.batch(2, 24_000)
        latents = model.encode(true)
        made = model.decode(latents + 0.02 * torch.randn_like(latents))
        if torch.rand(()) < 0.5:
            made, true = mid_side(made), mid_side(true)
        return spectral_loss(made, true) + 2e-3 * torch.relu(latents.abs() - 3.0).square().mean()

    @torch.no_grad()
    def report() -> str:
        made = [model.decode(model.encode(torch.from_numpy(clip)[None]))[0].numpy() for clip in unseen]
        sdr = np.mean([si_sdr(a, b) for a, b in zip(made, unseen, strict=True)])
        mel = np.mean([mel_distance(a, b) for a, b in zip(made, unseen, strict=True)])
        return f"unseen SI-SDR {sdr:.2f} dB, mel {mel:.2f} dB"

    settings = TrainingSettings(minutes, learning_rate=5e-4, checkpoint=folder / "vae.pt", beta1=0.8, floor=0.05)
    train(model, loss, settings, rank, report)


@torch.no_grad()
def latent_scale(compact: CompactVae, pieces: int = 64) -> Scale:
    """Mean and deviation of each latent channel over freshly rendered music."""
    rng = np.random.default_rng(77)
    clips = (draw_sound(draw_score(rng, 6.0, lyrics=draw_lyrics(rng)), rng) for _ in range(pieces))
    latents = torch.cat([compact.encode(torch.from_numpy(clip)[None])[0] for clip in clips], dim=1)
    return Scale(latents.mean(1), latents.std(1))


def load_vae(folder: Path) -> tuple[CompactVae, Scale]:
    """The trained compact autoencoder of `folder` and its scale, computed on the first call."""
    compact = CompactVae()
    load_average(folder / "vae.pt", compact)
    path = folder / "scale.pt"
    if not path.exists():
        scale = latent_scale(compact)
        torch.save({"mean": scale.mean, "std": scale.std}, path)
    return compact, Scale(**torch.load(path, weights_only=True))
