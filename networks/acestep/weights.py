"""What every runtime knows about weights on disk: which files hold them, and whether they are the ones a model needs.

Nothing here loads a framework.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from core.errors import CheckpointError

REPAIR = "Download the checkpoint again, or point to another folder."
SINGLE_FILES = ("model.safetensors", "diffusion_pytorch_model.safetensors")
SILENCE = "silence_latent"
"""The end of the key of the stored silence, whose length is free."""

Shape = tuple[int, ...]
_SHOWN = 8


def read_json(path: Path) -> dict[str, object]:
    """The object in a JSON file; raises CheckpointError naming the file when it is missing or not an object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is missing in {path.parent}.", REPAIR) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as broken:
        raise CheckpointError(f"{path} is not JSON: {broken}.", REPAIR) from broken
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no JSON object.", REPAIR)
    return found


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, by its index when it has one; raises CheckpointError when one is missing."""
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    if indexes:
        weight_map = read_json(indexes[0]).get("weight_map")
        if not isinstance(weight_map, dict):
            raise CheckpointError(f"{indexes[0]} has no weight_map.", REPAIR)
        files = [folder / name for name in sorted(set(weight_map.values()))]
    else:
        single = (folder / name for name in SINGLE_FILES)
        files = [next((file for file in single if file.is_file()), folder / SINGLE_FILES[0])]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"{', '.join(missing)} is missing in {folder}.", REPAIR)
    return files


class ExpectedTensors:
    """The tensors that a model needs, by key, ticked off as they are found."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = dict(shapes)
        self._faults: list[str] = []

    def take(self, key: str, shape: Shape) -> bool:
        """Whether the model needs this tensor and has not got it yet; what does not fit is kept as a fault."""
        target = self._shapes.pop(key, None)
        if target is None:
            self._faults.append(f"{key} is not part of this model")
        elif not _fits(key, shape, target):
            self._faults.append(f"{key} is {shape}, not {target}")
        else:
            return True
        return False

    def check(self) -> None:
        """Raise CheckpointError naming the tensors that are missing, left over or misshapen."""
        faults = [*self._faults, *(f"{key} is missing" for key in self._shapes)]
        if faults:
            more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            shown = "; ".join(faults[:_SHOWN]) + more
            raise CheckpointError(f"The weights do not fit the configuration: {shown}.", REPAIR)


def _fits(key: str, shape: Shape, target: Shape) -> bool:
    if key.endswith(SILENCE):
        return len(shape) == 3 and shape[::2] == target[::2]
    return shape == target
