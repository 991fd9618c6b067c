"""Safetensors into torch modules, strictly and one tensor at a time.

Modules are built without memory and take each tensor as it is read, already in the type it will run in: the host
never holds more than the model in that type and the pages of the file being read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from core.errors import CheckpointError
from core.steps import finished
from networks.acestep.weights import REPAIR, ExpectedTensors

Module = TypeVar("Module", bound=nn.Module)


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
    """As `filling`, at once."""
    finished(filling(modules, tensors, dtypes, device))


def filling(
    modules: Mapping[str, nn.Module],
    tensors: Iterable[tuple[str, Tensor]],
    dtypes: Mapping[str, torch.dtype],
    device: torch.device,
) -> Generator[None, None, None]:
    """Give the modules the tensors, whose keys read `module.path`; a step after each.

    Buffers of a free length (the silence) take the length that is stored. Raises CheckpointError naming the keys
    that are missing, left over or misshapen.
    """
    states = {part: module.state_dict() for part, module in modules.items()}
    expected = ExpectedTensors(
        {f"{part}.{key}": tuple(value.shape) for part in states for key, value in states[part].items()}
    )
    for key, tensor in tensors:
        if expected.take(key, tuple(tensor.shape)):
            part, _, path = key.partition(".")
            dtype = dtypes[part] if tensor.is_floating_point() else tensor.dtype
            _assign(modules[part], path, tensor.to(dtype=dtype).to(device))
        yield
    expected.check()
    for module in modules.values():
        module.to(device=device)


def _assign(module: nn.Module, path: str, tensor: Tensor) -> None:
    owner_path, _, leaf = path.rpartition(".")
    owner = module.get_submodule(owner_path)
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[leaf] = tensor
