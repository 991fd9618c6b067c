"""The road to MusicGen: importing this module loads no framework, opening a checkpoint does."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import CheckpointError
from core.steps import importing
from networks.acestep.weights import REPAIR, read_json
from networks.machine import DType

if TYPE_CHECKING:
    from networks.musicgen.model import MusicGen

FAMILIES = ("musicgen", "musicgen_melody")
"""What transformers calls them in `config.json`."""


def is_musicgen(folder: Path) -> bool:
    """Whether the configuration of a folder is that of MusicGen. Raises CheckpointError for one that cannot be read."""
    return read_json(folder / "config.json").get("model_type") in FAMILIES


def opening(folder: Path, *, device: str | None = None, dtype: DType | None = None) -> Generator[None, None, MusicGen]:
    """Load the checkpoint in `folder` on torch, with steps between which it can be closed.

    `device` and `dtype` as in `networks.torch_device`; EnCodec always runs in float32. Raises CheckpointError for a
    folder that holds no whole MusicGen, and StudioError for a device that the machine lacks.
    """
    if not is_musicgen(folder):
        raise CheckpointError(f"{folder.name} is no MusicGen: its config.json says something else.", REPAIR)
    yield from importing(f"{__package__}.model")
    from networks.musicgen import model

    return (yield from model.loading(folder, device, dtype))
