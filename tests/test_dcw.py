"""The correction after each solver step does what upstream's does, over every folder of goldens.

ACE_PARITY_DCW_DIR points to another folder of the format, or to a folder of such folders.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, get_args

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from core.dcw import Dcw, DcwMode, Wavelet
from networks.acestep.dcw import correct
from networks.acestep.sampler import (
    DenoiseInputs,
    Guidance,
    RepaintWindows,
    Step,
    View,
    denoise,
    noise_levels,
)
from networks.acestep.wavelets import filters, join, split

DATA = Path(os.environ.get("ACE_PARITY_DCW_DIR") or Path(__file__).parent / "data" / "parity" / "dcw").resolve()

STEP_LIMIT, LOOP_LIMIT = 1e-5, 5e-5
"""The largest relative error that counts as equal, of one correction and of a whole denoising, in float32."""


class DcwArguments(TypedDict):
    """The correction in upstream's spelling."""

    input: str
    dcw_enabled: bool
    dcw_mode: DcwMode
    dcw_scaler: float
    dcw_high_scaler: float
    dcw_wavelet: Wavelet


class StepArguments(DcwArguments):
    """One correction."""

    t_curr: float
    dtype: Literal["float32", "bfloat16"]


class LoopArguments(DcwArguments):
    """A whole denoising."""

    family: Literal["turbo", "base"]
    shift: float
    infer_steps: NotRequired[int]
    diffusion_guidance_scale: NotRequired[float]
    infer_method: NotRequired[Literal["ode", "sde"]]
    sampler_mode: NotRequired[Literal["euler", "heun"]]
    cfg_interval_start: NotRequired[float]
    cfg_interval_end: NotRequired[float]
    velocity_norm_threshold: NotRequired[float]
    velocity_ema_factor: NotRequired[float]
    repaint: NotRequired[tuple[int, int]]
    repaint_injection_ratio: NotRequired[float]
    repaint_crossfade_frames: NotRequired[int]


class Cases(TypedDict):
    """The two groups of a folder."""

    step: dict[str, StepArguments]
    loop: dict[str, LoopArguments]


class Golden:
    """One folder of corrections."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases: Cases = json.loads((folder / "cases.json").read_text())

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return load_file(self.folder / "inputs.safetensors")

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        return load_file(self.folder / "expected.safetensors")


GOLDENS = [Golden(found.parent) for found in sorted([*DATA.glob("cases.json"), *DATA.glob("*/cases.json")])]


def named(group: Literal["step", "loop"]) -> list[object]:
    return [
        pytest.param(golden, case, id=f"{golden.folder.name}-{case}")
        for golden in GOLDENS
        for case in golden.cases[group]
    ]


def dcw_of(arguments: DcwArguments) -> Dcw | None:
    if not arguments["dcw_enabled"]:
        return None
    return Dcw(
        mode=arguments["dcw_mode"],
        scaler=arguments["dcw_scaler"],
        high_scaler=arguments["dcw_high_scaler"],
        wavelet=arguments["dcw_wavelet"],
    )


def relative_error(answer: Tensor, expected: Tensor) -> float:
    assert answer.shape == expected.shape
    return ((answer.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def test_there_are_corrections_to_compare() -> None:
    assert GOLDENS, f"{DATA} neither is nor holds a folder with a cases.json"
    assert all(golden.cases["step"] and golden.cases["loop"] for golden in GOLDENS)


# ---- one step --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("golden", "case"), named("step"))
def test_a_step_is_corrected_as_upstream_corrects_it(golden: Golden, case: str) -> None:
    arguments, expected = golden.cases["step"][case], golden.expected[f"{case}.out"]
    dtype = getattr(torch, arguments["dtype"])
    x, clean = (golden.inputs[f"{arguments['input']}.{name}"].to(dtype) for name in ("x_next", "denoised"))
    dcw = dcw_of(arguments)
    answer = x if dcw is None else correct(x, clean, arguments["t_curr"], dcw)
    assert answer.dtype == expected.dtype == dtype
    if dtype == torch.float32:
        assert relative_error(answer, expected) <= STEP_LIMIT
    else:
        one_up = torch.nextafter(expected.abs(), torch.full_like(expected, torch.inf))
        assert ((answer - expected).abs() <= one_up - expected.abs()).all()


# ---- whole loops -----------------------------------------------------------------------------------------------------


class Network:
    """Velocities that are linear in x, the unconditional one another; steadied as upstream can steady them."""

    def __init__(self, golden: Golden, arguments: LoopArguments) -> None:
        self.inputs, self.arguments = golden.inputs, arguments
        self.last: Tensor | None = None

    def __call__(self, x: Tensor, t: float, context: Tensor, conditions: Sequence[str]) -> list[Tensor]:
        return [
            self.steadied(x, x @ self.inputs[f"loop.A{name}"] + self.inputs[f"loop.b{name}"]) for name in conditions
        ]

    def steadied(self, x: Tensor, v: Tensor) -> Tensor:
        """The velocity no longer than a share of x, and led on from the last one."""
        if share := self.arguments.get("velocity_norm_threshold", 0.0):
            limit = share * x.norm(dim=(1, 2), keepdim=True)
            v = v * (limit / v.norm(dim=(1, 2), keepdim=True)).clamp_max(1)
        if memory := self.arguments.get("velocity_ema_factor", 0.0):
            v = v if self.last is None else (1 - memory) * v + memory * self.last
            self.last = v
        return v


def window_of(golden: Golden, arguments: LoopArguments, noise: Tensor, steps: int) -> RepaintWindows | None:
    if "repaint" not in arguments:
        return None
    return RepaintWindows(
        windows=[arguments["repaint"]],
        source=golden.inputs[f"{arguments['input']}.clean_src_latents"],
        noise=noise,
        injections=round(arguments.get("repaint_injection_ratio", 0) * steps),
        ramp=arguments.get("repaint_crossfade_frames", 0),
    )


def solver_of(arguments: LoopArguments) -> str:
    if arguments.get("infer_method") == "sde":
        return "pingpong" if arguments["family"] == "turbo" else "upstream_sde"
    return arguments.get("sampler_mode", "euler")


def steps_of(golden: Golden, case: str) -> list[Step]:
    """The steps of a loop, by the code that makes songs; upstream's turbo ends with Euler, whatever its solver."""
    arguments = golden.cases["loop"][case]
    noise = golden.inputs[f"{arguments['input']}.noise"]
    levels = noise_levels("linear", arguments.get("infer_steps", 8), arguments["shift"])
    guidance = Guidance(
        null="_uncond",
        scale=arguments.get("diffusion_guidance_scale", 1),
        start=arguments.get("cfg_interval_start", 0),
        end=arguments.get("cfg_interval_end", 1),
    )
    network = Network(golden, arguments)

    def run(x: Tensor, levels: Sequence[float], solver: str) -> list[Step]:
        inputs = DenoiseInputs(
            levels=levels,
            view=View(context=torch.empty(0), condition=""),
            guidance=guidance,
            solver=solver,
            dcw=dcw_of(arguments),
            repaint=window_of(golden, arguments, noise, len(levels) - 1),
        )

        def fresh(index: int) -> Tensor:
            return golden.inputs[f"{arguments['input']}.step_noise"][index]

        return list(denoise(network, x, inputs, fresh))

    solver = solver_of(arguments)
    if arguments["family"] == "base" or solver != "heun":
        return run(noise, levels, solver)
    before = run(noise, levels[:-1], solver)
    return before + run(before[-1].x, levels[-2:], "euler")


@pytest.mark.parametrize(("golden", "case"), named("loop"))
def test_a_denoising_with_corrections_goes_where_upstreams_goes(golden: Golden, case: str) -> None:
    steps = steps_of(golden, case)
    assert relative_error(steps[-1].x, golden.expected[f"{case}.target_latents"]) <= LOOP_LIMIT
    if f"{case}.xt" in golden.expected:
        ways = torch.stack([golden.inputs[f"{golden.cases['loop'][case]['input']}.noise"], *(step.x for step in steps)])
        assert relative_error(ways, golden.expected[f"{case}.xt"]) <= LOOP_LIMIT


# ---- wavelets --------------------------------------------------------------------------------------------------------

VANISHING = {"haar": 1, "db2": 2, "db4": 4, "sym4": 4, "sym8": 8, "coif2": 4}
"""The degrees of polynomials, from 0 on, that leave nothing in the high band."""


def test_every_wavelet_that_a_request_offers_has_a_filter() -> None:
    assert set(filters()) == set(get_args(Wavelet)) == set(VANISHING)


@pytest.mark.parametrize("wavelet", VANISHING)
def test_a_filter_is_what_its_wavelet_is_defined_by(wavelet: str) -> None:
    taps = torch.tensor(filters()[wavelet], dtype=torch.float64)
    places = torch.arange(len(taps), dtype=torch.float64)
    for shift in range(0, len(taps), 2):
        product = (taps[shift:] * taps[: len(taps) - shift]).sum().item()
        assert product == pytest.approx(float(shift == 0), abs=1e-10)
    high = taps.flip(0) * (-1) ** places
    middle = (places - places.mean()) / len(taps)
    moments = [(high * middle**degree).sum().item() for degree in range(VANISHING[wavelet] + 1)]
    assert moments[:-1] == pytest.approx([0.0] * VANISHING[wavelet], abs=1e-9)
    assert abs(moments[-1]) > 1e-6, "one moment more vanishes than the wavelet is known for"


@pytest.mark.parametrize("wavelet", get_args(Wavelet))
@pytest.mark.parametrize("frames", [1, 2, 5, 40, 61])
def test_bands_put_together_again_are_what_they_were_split_from(wavelet: Wavelet, frames: int) -> None:
    x = torch.randn(2, frames, 3, generator=torch.Generator().manual_seed(frames))
    low, high = split(x, wavelet)
    assert low.shape == high.shape == (2, (frames + len(filters()[wavelet]) - 1) // 2, 3)
    torch.testing.assert_close(join(low, high, wavelet, frames), x)
