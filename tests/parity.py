"""The parity folders: tiny checkpoints in upstream's layout, and what upstream's code made of given inputs.

ACE_PARITY_DIR points to other folders of the same format, or to one of them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from safetensors.torch import load_file
from torch import Tensor

DATA = Path(os.environ.get("ACE_PARITY_DIR") or Path(__file__).parent / "data" / "parity").resolve()

REORDERED = 1e-5
"""The largest relative error between two orders of the same float32 arithmetic, in one pass through a network."""


class Arguments(TypedDict):
    """What upstream's `generate_audio` was given, in its spelling."""

    infer_method: Literal["ode", "sde"]
    shift: float
    cover: bool
    repaint: tuple[int, int] | None
    codes: bool
    infer_steps: NotRequired[int]
    diffusion_guidance_sale: NotRequired[float]
    use_adg: NotRequired[bool]
    cfg_interval_start: NotRequired[float]
    cfg_interval_end: NotRequired[float]
    sampler_mode: NotRequired[Literal["euler", "heun"]]
    audio_cover_strength: NotRequired[float]
    cover_noise_strength: NotRequired[float]
    retake_variance: NotRequired[float]
    repaint_injection_ratio: NotRequired[float]
    repaint_crossfade_frames: NotRequired[int]


@dataclass(frozen=True)
class Golden:
    """One parity folder."""

    folder: Path

    @cached_property
    def cases(self) -> dict[str, Arguments]:
        found: dict[str, Arguments] = json.loads((self.folder / "cases.json").read_text())
        return found

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return load_file(self.folder / "inputs.safetensors")

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        return load_file(self.folder / "expected.safetensors")

    @cached_property
    def config(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.folder / "config.json").read_text())
        return found

    @property
    def is_turbo(self) -> bool:
        return bool(self.config.get("is_turbo", False))

    @property
    def splices(self) -> bool:
        """Whether the upstream of this folder puts the source back outside a repainted window: XL's does, always."""
        return "encoder_hidden_size" in self.config

    @property
    def adapters(self) -> Path:
        """The folder of one adapter in several spellings, with what upstream made with it; not every golden has one."""
        return self.folder / "lora"

    @cached_property
    def spellings(self) -> list[Path]:
        """The adapter's files and PEFT folders."""
        return sorted(path for path in self.adapters.glob("*") if path.stem not in ("expected", "wrong_base"))

    @cached_property
    def references(self) -> list[Tensor]:
        """Reference latents `(n, T, C)` per batch item."""
        packed = self.inputs["refer_audio_acoustic_hidden_states_packed"]
        order = self.inputs["refer_audio_order_mask"]
        return [packed[order == item] for item in range(len(self.inputs["noise"]))]


def goldens_in(place: Path) -> list[Golden]:
    """The parity folder that a place is, or those that lie in it."""
    found = sorted([*place.glob("cases.json"), *place.glob("*/cases.json")])
    return [Golden(cases.parent) for cases in found if (cases.parent / "config.json").is_file()]


GOLDENS = goldens_in(DATA)


def relative_error(answer: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest expected value."""
    assert answer.shape == expected.shape, f"{tuple(answer.shape)} is not {tuple(expected.shape)}"
    return ((answer.double() - expected.double()).abs().max() / expected.double().abs().max()).item()
