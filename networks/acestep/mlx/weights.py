"""Safetensors into MLX modules, strictly; numbers are read from disk as they are converted, one tensor at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from safetensors import SafetensorError, safe_open

from core.errors import CheckpointError
from networks.acestep.layouts import SILENCE_KEY, VAE, Bundle, read_silence
from networks.acestep.mlx.vae import Snake
from networks.acestep.weights import REPAIR, SILENCE, ExpectedTensors, Shape

Model = Any
"""A module of this folder, whose attributes are its parameters."""

_AXES: Mapping[type[nn.Module], tuple[int, int, int]] = {
    nn.Conv1d: (0, 2, 1),
    nn.ConvTranspose1d: (1, 2, 0),
    Snake: (0, 2, 1),
}
"""Where the axes of stored tensors of three dimensions go: MLX has channels last."""


def load_safetensors(file: Path) -> dict[str, mx.array]:
    """The tensors of a file by key, not yet read from it. Raises OSError or SafetensorError."""
    with safe_open(file, framework="np"):  # finds a file that was cut short, which MLX would notice too late
        pass
    found = mx.load(str(file), format="safetensors")
    assert isinstance(found, dict)
    return found


def read_bundle(bundle: Bundle) -> Iterator[tuple[str, mx.array]]:
    """The tensors of parts that lie together, by their paths, part first."""
    for file in bundle.files:
        try:
            tensors = load_safetensors(file)
        except (OSError, SafetensorError, RuntimeError) as broken:
            raise CheckpointError(f"{file} cannot be read: {broken}.", REPAIR) from broken
        for key, tensor in tensors.items():
            path = bundle.path_of(key)
            if path is not None:
                yield path, tensor
    if bundle.silence is not None:
        yield SILENCE_KEY, mx.array(read_silence(bundle.silence).float().numpy())


def fill(parts: Mapping[str, Model], tensors: Iterable[tuple[str, mx.array]], dtypes: Mapping[str, mx.Dtype]) -> None:
    """Give the modules their tensors, in the types of their parts, still to be read by `read_parameters`.

    The silence stays in float32 and has the length that is stored. Raises CheckpointError naming the keys that are
    missing, left over or misshapen.
    """
    expected = ExpectedTensors(
        {key: shape for part, model in parts.items() for key, shape in stored_shapes(part, model)}
    )
    found = {key: tensor for key, tensor in tensors if expected.take(key, tuple(tensor.shape))}
    expected.check()
    for part, model in parts.items():
        axes, weights = _axes_of(model), []
        for path, value in parameters_of(model):
            stored = _folded(found, f"{part}.{path}")
            owner, _, leaf = path.rpartition(".")
            if value.ndim == 3 and owner in axes:
                stored = stored.transpose(*axes[owner])
            weights.append((path, stored.astype(mx.float32 if leaf == SILENCE else dtypes[part])))
        model.update(tree_unflatten(weights))


def parameters_of(model: Model) -> list[tuple[str, mx.array]]:
    """Every parameter with its path."""
    return cast(list[tuple[str, mx.array]], tree_flatten(model.parameters()))


def read_parameters(model: Model) -> Iterator[str]:
    """Read the module's parameters into memory; the path of each once it is there."""
    for path, array in parameters_of(model):
        mx.eval(array)
        yield path


def _axes_of(model: Model) -> dict[str, tuple[int, int, int]]:
    return {path: _AXES[type(module)] for path, module in model.named_modules() if type(module) in _AXES}


def stored_shapes(part: str, model: Model) -> Iterator[tuple[str, Shape]]:
    """Key and shape of every tensor that is stored for a module: the VAE's convolutions as direction and length."""
    axes = _axes_of(model)
    kinds = nn.Conv1d | nn.ConvTranspose1d
    convolutions = {path for path, module in model.named_modules() if isinstance(module, kinds)}
    for path, value in parameters_of(model):
        owner, _, leaf = path.rpartition(".")
        shape = tuple(value.shape)
        if value.ndim == 3 and owner in axes:
            shape = tuple(side for _, side in sorted(zip(axes[owner], shape, strict=True)))
        if part == VAE and leaf == "weight" and owner in convolutions:
            yield f"{part}.{path}_g", (shape[0], 1, 1)
            yield f"{part}.{path}_v", shape
        else:
            yield f"{part}.{path}", shape


def _folded(found: dict[str, mx.array], key: str) -> mx.array:
    """The tensor of a key; weight norm is folded, its norm being over all axes but the first of what is stored."""
    if key in found:
        return found.pop(key)
    length, direction = (found.pop(f"{key}_{half}").astype(mx.float32) for half in "gv")
    return direction * (length / mx.sqrt((direction**2).sum(axis=(1, 2), keepdims=True)))
