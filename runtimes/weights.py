"""Safetensors into modules, strictly and one tensor at a time.

Modules are built without memory and take each tensor as it is read, already in the type it will run in: the host
never holds more than the model in that type and the pages of the file being read.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from errors import CheckpointError

REPAIR = "Download the checkpoint again, or point to another folder."
SINGLE_FILES = ("model.safetensors", "diffusion_pytorch_model.safetensors")
Module = TypeVar("Module", bound=nn.Module)


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


def read_tensors(files: Iterable[Path]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the files with its key, file by file; each file is closed before the next is opened."""
    for file in files:
        try:
            with safe_open(file, framework="pt") as handle:
                for key in handle.keys():  # noqa: SIM118 - the handle is no mapping
                    yield key, handle.get_tensor(key)
        except SafetensorError as broken:
            raise CheckpointError(f"{file} cannot be read: {broken}.", REPAIR) from broken


def build(make: Callable[[], Module]) -> Module:
    """The module that `make` constructs, its parameters without memory, its computed buffers real."""
    with warnings.catch_warnings(), init_empty_weights(include_buffers=False):
        warnings.simplefilter("ignore", FutureWarning)  # the VAE's weight norm is torch's older one
        module = make()
    return module.eval().requires_grad_(False)


def fill(
    modules: Mapping[str, nn.Module],
    tensors: Iterable[tuple[str, Tensor]],
    dtypes: Mapping[str, torch.dtype],
    device: torch.device,
) -> None:
    """Nothing; the modules hold the tensors, whose keys read `module.path`.

    Buffers of a free length (the silence) take the length that is stored. Raises CheckpointError naming the keys
    that are missing, left over or misshapen.
    """
    wanted = {f"{part}.{key}": value for part, module in modules.items() for key, value in module.state_dict().items()}
    faults: list[str] = []
    for key, tensor in tensors:
        target = wanted.pop(key, None)
        if target is None:
            faults.append(f"{key} is not part of this model")
        elif not _fits(key, tensor, target):
            faults.append(f"{key} is {tuple(tensor.shape)}, not {tuple(target.shape)}")
        else:
            part, _, path = key.partition(".")
            dtype = dtypes[part] if tensor.is_floating_point() else tensor.dtype
            _place(modules[part], path, tensor.to(dtype=dtype).to(device))
    faults += [f"{key} is missing" for key in wanted]
    if faults:
        shown = "; ".join(faults[:8]) + (f"; and {len(faults) - 8} more" if len(faults) > 8 else "")
        raise CheckpointError(f"The weights do not fit the configuration: {shown}.", REPAIR)
    for module in modules.values():
        module.to(device=device)


def _fits(key: str, tensor: Tensor, target: Tensor) -> bool:
    if key.endswith("silence_latent"):
        return tensor.dim() == 3 and tensor.shape[::2] == target.shape[::2]
    return tensor.shape == target.shape


def _place(module: nn.Module, path: str, tensor: Tensor) -> None:
    owner_path, _, leaf = path.rpartition(".")
    owner = module.get_submodule(owner_path)
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[leaf] = tensor
