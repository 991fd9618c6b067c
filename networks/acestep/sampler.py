"""From noise to latents: noise levels, guidance, solvers, and the loops that use them.

Flow matching as ACE-Step trains it: `x_t = t * noise + (1 - t) * clean`, the network predicts `v = noise - clean`, t
falls from 1 to 0. Latents are `(B, T, C)` float32. Nothing here knows a network: a velocity is a function, and a
condition is whatever that function understands. To add a solver or a guidance rule, append one function and one row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from core.dcw import Dcw
from core.modes import RepaintMode
from networks.acestep.dcw import correct

Condition = Any
Velocity = Callable[[Tensor, float, Tensor, Sequence[Condition]], list[Tensor]]
"""`velocity(x, t, context, conditions)`: `v_t` for each condition, as `Runtime.velocity` gives it."""


# ---- noise -----------------------------------------------------------------------------------------------------------


def generators_of(seeds: Sequence[int]) -> tuple[torch.Generator, ...]:
    """One CPU generator per variation: a variation alone sounds as it does among others."""
    return tuple(torch.Generator().manual_seed(seed) for seed in seeds)


def draw_noise(generators: Sequence[torch.Generator], frames: int, channels: int) -> Tensor:
    """Standard normal noise `(B, T, C)` on the CPU: the same on every device and runtime."""
    return torch.stack([torch.randn(frames, channels, generator=generator) for generator in generators])


def renoise(clean: Tensor, noise: Tensor, t: float) -> Tensor:
    """`x_t` of clean latents."""
    return t * noise + (1 - t) * clean


def retake_noise(noise: Tensor, other: Tensor, variance: float) -> Tensor:
    """Noise between two draws, of the same variance as each: `variance` 0 is the first draw, 1 the second."""
    return math.cos(variance * math.pi / 2) * noise + math.sin(variance * math.pi / 2) * other


# ---- noise levels ----------------------------------------------------------------------------------------------------


def linear(steps: int) -> tuple[float, ...]:
    """Levels 1 ... 0 in equal steps."""
    return tuple(torch.linspace(1, 0, steps + 1).tolist())


def linear_quadratic(steps: int) -> tuple[float, ...]:
    """Levels 1 ... 0: slowly and evenly through the first half, then ever faster.

    Movie Gen (arXiv:2410.13720): the first half makes 2.5 % of the way, the second continues with the same slope
    and curves down to 0.
    """
    first = steps // 2
    if first == 0:
        return linear(steps)
    second, slope = steps - first, 0.025 / first
    curve = (1 - 0.025 - slope * second) / second**2
    late = tuple(1 - 0.025 - slope * index - curve * index**2 for index in range(1, second))
    return *(1 - slope * index for index in range(first + 1)), *late, 0.0


SCHEDULES: Mapping[str, Callable[[int], tuple[float, ...]]] = MappingProxyType(
    {"linear": linear, "linear_quadratic": linear_quadratic}
)


def noise_levels(schedule: str, steps: int, shift: float = 1.0, timesteps: Sequence[float] = ()) -> tuple[float, ...]:
    """The levels to visit, falling, the final 0 included; `steps` + 1 of them.

    `shift` moves them towards the noise: `t' = shift * t / (1 + (shift - 1) * t)` (Esser et al., arXiv:2403.03206).
    Custom `timesteps`, falling within (0, 1], are taken as they are and replace everything else.
    """
    if timesteps:
        return *timesteps, 0.0
    levels = torch.tensor(SCHEDULES[schedule](steps))
    return tuple((shift * levels / (1 + (shift - 1) * levels)).tolist())


def levels_from(levels: Sequence[float], strength: float) -> tuple[float, ...]:
    """The levels from the one nearest to 1 - strength: where a cover starts that keeps so much of its source."""
    start = min(range(len(levels) - 1), key=lambda index: abs(levels[index] - (1 - strength)))
    return tuple(levels[start:])


# ---- guidance --------------------------------------------------------------------------------------------------------

Momentum = Tensor | None
"""The state of a guidance rule between steps; passed along, so that a branch can be tried and dropped."""


@dataclass(frozen=True)
class Predictions:
    """The velocities that the network predicts for `x` at `t`, with the condition and without."""

    x: Tensor
    t: float
    cond: Tensor
    null: Tensor


def cfg(predictions: Predictions, scale: float, momentum: Momentum) -> tuple[Tensor, Momentum]:
    """Classifier-free guidance (Ho and Salimans, arXiv:2207.12598)."""
    return predictions.null + scale * (predictions.cond - predictions.null), momentum


def apg(predictions: Predictions, scale: float, momentum: Momentum) -> tuple[Tensor, Momentum]:
    """Adaptive projected guidance (Sadat et al., arXiv:2410.02416); the momentum is the running difference `(B, T, C)`.

    Upstream's `apg_forward`: momentum -0.75, each channel's difference clipped to a norm of 2.5 over time, the part
    parallel to the conditional prediction left out.
    """
    running = predictions.cond - predictions.null
    if momentum is not None:
        running = running - 0.75 * momentum
    length = running.norm(dim=1, keepdim=True).clamp_min(1e-12)
    clipped = running * (2.5 / length).clamp_max(1)
    along = torch.nn.functional.normalize(predictions.cond, dim=1)
    across = clipped - (clipped * along).sum(dim=1, keepdim=True) * along
    return predictions.cond + (scale - 1) * across, running


def adg(predictions: Predictions, scale: float, momentum: Momentum) -> tuple[Tensor, Momentum]:
    """Angle-based dynamic guidance (upstream's `adg_forward`), right for any batch and finite down to t = 0.

    In each frame the clean estimate is rotated away from the unconditional one: the angle between the two grows by
    the weight, up to 3.14 / 6. Written in differences of velocities instead of clean estimates divided by t, and with
    the angle from a chord instead of an arc cosine, both of which lose their digits where the predictions agree.
    """
    weight = max(scale - 1, 0) + 1e-3
    clean = predictions.x - predictions.t * predictions.cond
    origin = predictions.x - predictions.t * predictions.null
    angle = _angle(clean, origin)
    rotated = (weight * angle).clamp_max(3.14 / 6)
    gain = torch.where(angle.sin() > 1e-3, rotated.sin() / angle.sin().clamp_min(1e-3), rotated.new_tensor(weight))
    apart = predictions.null - predictions.cond  # the difference of the clean estimates, over t
    share = (apart * origin).sum(-1, keepdim=True) / origin.square().sum(-1, keepdim=True).clamp_min(1e-8)
    shrunk = 2 * (rotated / 2).sin().square() / max(predictions.t, 1e-6)  # (1 - cos) / t, which vanishes with t
    return predictions.cond + shrunk * clean - gain * (apart - share * origin), momentum


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """The angle `(B, T, 1)` between the channel vectors of each frame."""
    a, b = (torch.nn.functional.normalize(vector, dim=-1) for vector in (a, b))
    return 2 * torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))


GuidanceRule = Callable[[Predictions, float, Momentum], tuple[Tensor, Momentum]]
GUIDANCE: Mapping[str, GuidanceRule] = MappingProxyType({"apg": apg, "cfg": cfg, "adg": adg})


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How far predictions are pushed away from the unconditional one, by which rule, at which noise levels.

    `null` is the absence of a condition; `start` and `end` are noise levels, inclusive. A scale of 1 means none.
    """

    null: Condition = None
    scale: float = 1.0
    rule: str = "apg"
    start: float = 0.0
    end: float = 1.0

    def acts(self, t: float) -> bool:
        """Whether the unconditional prediction is wanted at `t`; where it is not, it is not computed."""
        return self.scale > 1 and self.start <= t <= self.end


@dataclass(frozen=True, kw_only=True)
class View:
    """The network's inputs besides `x_t` and t: the context `(B or 1, T, 2C)` and the condition."""

    context: Tensor
    condition: Condition


@dataclass(frozen=True)
class VelocityField:
    """The guided velocity field of one view."""

    velocity: Velocity
    view: View
    guidance: Guidance

    def __call__(self, x: Tensor, t: float, momentum: Momentum = None) -> tuple[Tensor, Momentum]:
        """`v_t` and the guidance's momentum; one forward, over both branches where the guidance acts."""
        if not self.guidance.acts(t):
            (v,) = self.velocity(x, t, self.view.context, [self.view.condition])
            return v, momentum
        cond, null = self.velocity(x, t, self.view.context, [self.view.condition, self.guidance.null])
        return GUIDANCE[self.guidance.rule](Predictions(x, t, cond, null), self.guidance.scale, momentum)

    def reevaluate(self, x: Tensor, t: float) -> Tensor:
        """`v_t` of a second evaluation within a step: plain guidance for APG, whose momentum counts steps."""
        rule = "cfg" if self.guidance.rule == "apg" else self.guidance.rule
        return replace(self, guidance=replace(self.guidance, rule=rule))(x, t)[0]


# ---- solvers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SolverStep:
    """One step to make: from `x` at `t`, where the velocity is `v`, to `t_next`.

    `past` holds (t, v) of the steps before, newest first, as far as they had the same view; `reevaluate(x, t)` gives
    the velocity elsewhere; `fresh_noise(index)` draws noise; `index` counts from 0 to `total` - 1.
    """

    x: Tensor
    t: float
    t_next: float
    v: Tensor
    past: tuple[tuple[float, Tensor], ...]
    reevaluate: Callable[[Tensor, float], Tensor]
    fresh_noise: Callable[[int], Tensor]
    index: int
    total: int

    @property
    def clean(self) -> Tensor:
        """The clean latents that `v` predicts."""
        return self.x - self.t * self.v


def euler(step: SolverStep) -> Tensor:
    """First order: along the velocity."""
    return step.x + (step.t_next - step.t) * step.v


def heun(step: SolverStep) -> Tensor:
    """Second order: the mean of the velocities here and where Euler would arrive; two evaluations."""
    v_next = step.reevaluate(euler(step), step.t_next)
    return step.x + (step.t_next - step.t) * (step.v + v_next) / 2


def dpm3m(step: SolverStep) -> Tensor:
    """Third-order multistep: the polynomial through the last three velocities, integrated; one evaluation.

    The Adams-Bashforth weights of the actual levels, not of equal ones (23/12, -16/12, 5/12 where they are equal):
    the exact integrals of a quadratic velocity on any schedule.
    """
    dt = step.t_next - step.t
    known = [(step.t, step.v), *step.past[:2]]
    nodes = torch.tensor([(t - step.t) / dt for t, _ in known], dtype=torch.float64)
    orders = torch.arange(len(known), dtype=torch.float64)
    weights = torch.linalg.solve(nodes ** orders[:, None], 1 / (orders + 1))
    parts = (weight * v for weight, (_, v) in zip(weights.tolist(), known, strict=True))
    return step.x + dt * sum(parts, start=torch.zeros_like(step.x))


def pingpong(step: SolverStep) -> Tensor:
    """To the clean estimate, and back up to the next level with fresh noise: the stochastic solver (`sde`)."""
    return _renoised(step, step.t_next)


def upstream_sde(step: SolverStep) -> Tensor:
    """Pingpong as upstream's sft and base do it, for parity only: the next level ignores the schedule's shift."""
    return _renoised(step, 1 - (step.index + 1) / step.total)


def _renoised(step: SolverStep, t_next: float) -> Tensor:
    if t_next <= 0:
        return step.clean
    return renoise(step.clean, step.fresh_noise(step.index).to(step.x), t_next)


SolverRule = Callable[[SolverStep], Tensor]
SOLVERS: Mapping[str, SolverRule] = MappingProxyType(
    {"euler": euler, "heun": heun, "dpm3m": dpm3m, "pingpong": pingpong, "upstream_sde": upstream_sde}
)


# ---- repaint ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blend:
    """How repainted windows are joined to their surroundings.

    `injection` is the share of steps after which the surroundings are set to the source again, `latent_s` and
    `wave_s` are the ramps outside each edge, in seconds, of the latents and of the samples; 0 means none.
    """

    injection: float
    latent_s: float
    wave_s: float


def blend_of(mode: RepaintMode, strength: float) -> Blend:
    """The blend of a repaint mode; balanced goes from conservative (strength 0) to aggressive (1)."""
    kept = {"aggressive": 0.0, "balanced": 1 - strength, "conservative": 1.0}[mode]
    return Blend(injection=kept, latent_s=kept, wave_s=0.05 * kept)


@dataclass(frozen=True, kw_only=True)
class RepaintWindows:
    """Frames `[start, stop)` to make anew, in several places or one; the rest belongs to `source` `(B or 1, T, C)`.

    Outside, x_t is set to the re-noised source after each of the first `injections` steps, with the `noise` that
    the run started from; at the end ramps of `ramp` frames outside the edges lead from the source to the result.
    """

    windows: Sequence[tuple[int, int]]
    source: Tensor
    noise: Tensor
    injections: int = 0
    ramp: int = 0

    def inject(self, x: Tensor, t: float) -> Tensor:
        """`x_t` with the re-noised source outside the windows."""
        injected = renoise(self.source, self.noise, t).expand_as(x).clone()
        for start, stop in self.windows:
            injected[:, start:stop] = x[:, start:stop]
        return injected

    def blend(self, x: Tensor) -> Tensor:
        """The result inside, the source outside, a linear ramp between."""
        weight = self.weights(x.shape[1]).to(x)[None, :, None]
        return weight * x + (1 - weight) * self.source

    def weights(self, frames: int) -> Tensor:
        """The share of the result in each frame; where the ramps of two windows meet, the larger one.

        Ramps leave out their ends 0 and 1, and stop at the song's.
        """
        weight = torch.zeros(frames)
        for start, stop in self.windows:
            before, after = min(self.ramp, start), min(self.ramp, frames - stop)
            own = torch.zeros(frames)
            own[start:stop] = 1
            own[start - before : start] = torch.linspace(0, 1, before + 2)[1:-1]
            own[stop : stop + after] = torch.linspace(1, 0, after + 2)[1:-1]
            weight = torch.maximum(weight, own)
        return weight


# ---- the loops -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One step done: `index` of `total`, counted from 1; `x` is `x_t` at the level `t` that was reached.

    `clean` are the clean latents that the step foresaw.
    """

    index: int
    total: int
    t: float
    x: Tensor
    clean: Tensor


@dataclass(frozen=True, kw_only=True)
class DenoiseInputs:
    """Everything that one denoising needs besides its noise.

    `levels` fall from the level of the first x to 0. From step `switch` (counted from 0) on the network is given
    `later` instead of `view`: an audio_cover_strength of s switches at `int(s * steps)`. `dcw` corrects every step.
    """

    levels: Sequence[float]
    view: View
    guidance: Guidance
    solver: str = "euler"
    dcw: Dcw | None = None
    later: View | None = None
    switch: int = 0
    repaint: RepaintWindows | None = None


def denoise(
    velocity: Velocity, x: Tensor, inputs: DenoiseInputs, fresh_noise: Callable[[int], Tensor]
) -> Iterator[Step]:
    """Yield a step after each level; the last one's `x` is the result. Closing the generator stops the work.

    `fresh_noise(index)` gives the noise `(B, T, C)` of a stochastic step; other solvers never call it.
    """
    total = len(inputs.levels) - 1
    field = VelocityField(velocity, inputs.view, inputs.guidance)
    momentum: Momentum = None
    past: tuple[tuple[float, Tensor], ...] = ()
    for index, (t, t_next) in enumerate(pairwise(inputs.levels)):
        if inputs.later is not None and index == inputs.switch:
            field, past = replace(field, view=inputs.later), ()
        v, momentum = field(x, t, momentum)
        step = SolverStep(
            x=x,
            t=t,
            t_next=t_next,
            v=v,
            past=past,
            reevaluate=field.reevaluate,
            fresh_noise=fresh_noise,
            index=index,
            total=total,
        )
        x = SOLVERS[inputs.solver](step)
        if inputs.dcw is not None:
            x = correct(x, step.clean, t, inputs.dcw)
        past = ((t, v), *past)[:2]
        if inputs.repaint is not None and index < inputs.repaint.injections:
            x = inputs.repaint.inject(x, t_next)
        if inputs.repaint is not None and index == total - 1:
            x = inputs.repaint.blend(x)
        yield Step(index + 1, total, t_next, x, step.clean)
