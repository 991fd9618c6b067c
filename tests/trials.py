"""The parity cases, run through the code that makes songs, and how far a right answer may be from upstream's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from networks.acestep.open import open_runtime
from networks.acestep.runtime import Runtime
from networks.acestep.sampler import (
    DenoiseInputs,
    Guidance,
    RepaintWindows,
    View,
    denoise,
    levels_from,
    noise_levels,
    renoise,
    retake_noise,
)
from networks.acestep.torch.parts import load_parts
from networks.acestep.torch.runtime import TorchRuntime
from tests.parity import GOLDENS, REORDERED, Arguments, Golden, relative_error

CPU = torch.device("cpu")

Arithmetic = Literal["torch", "mlx", "float64"]
"""Who computes: a runtime in float32, as songs are made, or torch's in float64."""

TOLERANCES: Mapping[Arithmetic, float] = MappingProxyType({"torch": 2e-4, "mlx": 2e-4, "float64": 2e-5})
"""The largest relative error of a whole denoising that counts as equal, by arithmetic.

float32: t * 1000 turns in sinusoids whose rates are exponentials. One unit in the last digit of a rate, and that much
the exponentials of two processors differ by, moves an angle by up to 6e-5 and a result by up to 1.4e-4; the order of
sums moves it by 4e-6. float64 with rounded rates is the same on every processor: what is left is upstream's float32.
"""
ADG_TOLERANCE = 1e-3
"""Of angle-based guidance: upstream's arc cosine loses the digits of small angles."""


class Waves(nn.Module):
    """The sinusoids of t as diffusers makes them, with rates that no processor's exponential decides.

    Each rate is the float32 nearest to its value; with a `seed` it is that one, the next higher or the next lower.
    """

    def __init__(self, size: int, seed: int | None = None) -> None:
        super().__init__()
        half = size // 2
        exponents = -math.log(10_000) * torch.arange(half, dtype=torch.float32) / half
        self.rates = exponents.double().exp().float()
        if seed is not None:
            steps = torch.randint(-1, 2, (half,), generator=torch.Generator().manual_seed(seed))
            self.rates = torch.nextafter(self.rates, self.rates + steps)

    def forward(self, t: Tensor) -> Tensor:
        """Cosines, then sines `(B, size)`, of levels `(B,)` that are scaled already."""
        turns = t[:, None].float() * self.rates
        return torch.cat([turns.cos(), turns.sin()], dim=-1)


@contextmanager
def waves(runtime: TorchRuntime, seed: int | None = None) -> Iterator[None]:
    """Let a runtime's DiT use these `Waves` for a while."""
    embed = runtime.parts.transformer.time_embed
    own, embed.time_sinusoid = embed.time_sinusoid, Waves(embed.in_channels, seed)
    try:
        yield
    finally:
        embed.time_sinusoid = own


@dataclasses.dataclass(frozen=True)
class Trial:
    """A parity folder in an arithmetic."""

    golden: Golden
    arithmetic: Arithmetic

    @property
    def runtime(self) -> Runtime:
        """The folder's networks, opened once."""
        return runtime_of(self)

    @property
    def tolerance(self) -> float:
        """The largest relative error of a whole denoising."""
        return TOLERANCES[self.arithmetic]

    @property
    def reordered(self) -> float:
        """The largest relative error of one network."""
        return REORDERED

    def __str__(self) -> str:
        return f"{self.arithmetic}-{self.golden.folder.name}"


@cache
def runtime_of(trial: Trial) -> Runtime:
    """The networks of a trial."""
    if trial.arithmetic != "float64":
        return open_runtime(trial.golden.folder, runtime=trial.arithmetic, device="cpu", dtype="float32")
    runtime = TorchRuntime(load_parts(trial.golden.folder, None, CPU, torch.float64), CPU, torch.float64)
    embed = runtime.parts.transformer.time_embed
    embed.time_sinusoid = Waves(embed.in_channels)
    return runtime


TRIALS = [Trial(golden, arithmetic) for arithmetic in TOLERANCES for golden in GOLDENS]


def context_of(trial: Trial, case: str, arguments: Arguments) -> Tensor:
    """What the DiT is shown besides the noise: latents, then the mask."""
    runtime, source = trial.runtime, trial.golden.inputs["src_latents"]
    batch, frames, _ = source.shape
    structure, mask = runtime.silence(frames).expand_as(source), torch.ones_like(source)
    if arguments["codes"]:
        codes = trial.golden.expected[f"{case}.audio_code_indices"].squeeze(-1)
        hints = runtime.codes_to_latents(codes)
        assert relative_error(hints, trial.golden.expected[f"{case}.hints"]) <= trial.reordered
        structure = hints[:, :frames]
    elif arguments["cover"]:
        structure = runtime.codes_to_latents(runtime.latents_to_codes(source))[:, :frames]
    elif arguments["repaint"]:
        start, stop = arguments["repaint"]
        inside = torch.zeros(batch, frames, 1, dtype=torch.bool)
        inside[:, start:stop] = True
        structure, mask = torch.where(inside, structure, source), inside.expand_as(source).float()
    return torch.cat([structure, mask], dim=-1)


def silence_of(trial: Trial) -> Tensor:
    """The context of a song from words alone."""
    source = trial.golden.inputs["src_latents"]
    silence = trial.runtime.silence(source.shape[1]).expand_as(source)
    return torch.cat([silence, torch.ones_like(silence)], dim=-1)


def view_of(trial: Trial, context: Tensor, text: str = "text_hidden_states") -> View:
    """A context with the condition of the folder's words and references."""
    condition = trial.runtime.condition_from_states(
        trial.golden.inputs[text], trial.golden.inputs["lyric_hidden_states"], trial.golden.references
    )
    return View(context=context, condition=condition)


def window_of(trial: Trial, arguments: Arguments, steps: int) -> RepaintWindows | None:
    """The repainted window, where upstream puts the source back around it."""
    if not arguments["repaint"] or not trial.golden.splices:
        return None
    return RepaintWindows(
        windows=[arguments["repaint"]],
        source=trial.golden.inputs["src_latents"],
        noise=trial.golden.inputs["noise"],
        injections=round(arguments.get("repaint_injection_ratio", 0) * steps),
        ramp=arguments.get("repaint_crossfade_frames", 0),
    )


def solver_of(trial: Trial, arguments: Arguments) -> str:
    """Our row for upstream's solver."""
    if arguments["infer_method"] == "sde":
        return "pingpong" if trial.golden.is_turbo else "upstream_sde"
    return arguments.get("sampler_mode", "euler")


def start_of(trial: Trial, case: str, arguments: Arguments) -> tuple[Tensor, DenoiseInputs]:
    """The latents that a denoising begins with, and the rest of what it needs."""
    inputs, runtime = trial.golden.inputs, trial.runtime
    levels = noise_levels("linear", arguments.get("infer_steps", 8), arguments["shift"])
    x = retake_noise(inputs["noise"], inputs["step_noise"][0], arguments.get("retake_variance", 0))
    if kept := arguments.get("cover_noise_strength", 0):
        levels = levels_from(levels, kept)
        x = renoise(inputs["src_latents"], x, levels[0])
    steps, strength = len(levels) - 1, arguments.get("audio_cover_strength", 1)
    run = DenoiseInputs(
        levels=levels,
        view=view_of(trial, context_of(trial, case, arguments)),
        later=view_of(trial, silence_of(trial), "non_cover_text_hidden_states") if strength < 1 else None,
        switch=int(steps * strength),
        guidance=Guidance(
            null=runtime.null_condition(),
            scale=arguments.get("diffusion_guidance_sale", 1),
            rule="adg" if arguments.get("use_adg") else "apg",
            start=arguments.get("cfg_interval_start", 0),
            end=arguments.get("cfg_interval_end", 1),
        ),
        solver=solver_of(trial, arguments),
        repaint=window_of(trial, arguments, steps),
    )
    return x, run


def end_of(trial: Trial, x: Tensor, run: DenoiseInputs) -> Tensor:
    """The latents that a denoising ends with."""
    *_, last = denoise(trial.runtime.velocity, x, run, lambda index: trial.golden.inputs["step_noise"][index])
    return last.x


def target_latents(trial: Trial, case: str) -> Tensor:
    """What our code makes of a case."""
    return end_of(trial, *start_of(trial, case, trial.golden.cases[case]))
