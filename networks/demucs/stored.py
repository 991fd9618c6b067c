"""How the weights of an htdemucs are stored: the safetensors that Demucs 4.1 publishes, and the pickle before it.

In safetensors (`demucs.hf`) the metadata say which class takes the tensors, and what it is made with, as JSON; one
class alone is accepted. The pickle (`demucs.states.serialize_model`) names classes too: it is opened only when its
SHA-256 is the one known for its name, and by torch's unpickler for weights, with the classes that the published file
is made of and no others.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
import textwrap
import warnings
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from demucs.htdemucs import HTDemucs
from demucs.states import load_model
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from core.errors import CheckpointError
from core.files import write_whole
from networks.demucs.separator import STEMS

KLASS = "demucs.htdemucs.HTDemucs"
CHANNELS = 2
REPAIR = "Download the checkpoint again: ./studio checkpoints download htdemucs."

_SCALAR: Callable[..., object] = cast(Any, np.float64(0).__reduce__()[0])
_PICKLED: tuple[Callable[..., object] | tuple[Callable[..., object], str], ...] = (
    HTDemucs,
    Fraction,
    np.dtype,
    type(np.dtype(np.float64)),
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),  # numpy's name for it before numpy 2, when the file was made
)
"""What the published pickle is made of besides tensors: its class, the length of a segment, and scores of training."""

log = logging.getLogger(__name__)


def load(folder: Path, digests: Mapping[str, str]) -> HTDemucs:
    """The network in a folder, in float32 on the CPU; a pickle is stored as safetensors beside it.

    Raises CheckpointError.
    """
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.th"))
    if len(files) != 1:
        raise CheckpointError(f"{folder} holds {len(files)} files of weights, where one is asked for.", REPAIR)
    path = files[0]
    if path.suffix == ".safetensors":
        return _built(path, *_read(path))
    arguments, state = _unpickled(path, digests)
    network = _built(path, arguments, state)
    _store(path.with_name(f"{path.stem.partition('-')[0]}.safetensors"), arguments, state)
    return network


Arguments = tuple[list[Any], dict[str, Any]]
"""What the class is made with, in order and by name."""


def _read(path: Path) -> tuple[Arguments, dict[str, Tensor]]:
    """What a safetensors file holds. Raises CheckpointError for a broken one and for another class."""
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as broken:
        raise CheckpointError(f"{path} cannot be read: {broken}.", REPAIR) from broken
    if facts.get("klass") != KLASS:
        raise CheckpointError(f"{path.name} is made for {facts.get('klass', 'a network it does not name')!r}.", REPAIR)
    try:
        args, kwargs = (json.loads(facts[name], object_hook=_fraction) for name in ("args", "kwargs"))
    except (KeyError, ValueError, TypeError) as broken:
        raise CheckpointError(f"{path.name} does not say what its network is made with: {broken}.", REPAIR) from broken
    return _checked(path, args, kwargs, state)


def _unpickled(path: Path, digests: Mapping[str, str]) -> tuple[Arguments, dict[str, Tensor]]:
    """What a pickle holds. Raises CheckpointError before it is opened when its digest is not the one known."""
    content = path.read_bytes()  # once: what is hashed is what is opened
    if hashlib.sha256(content).hexdigest() != digests.get(path.name):
        raise CheckpointError(
            f"{path.name} is not the file that was published under this name: its checksum is another. "
            "It was not opened, for a pickle can run anything.",
            "Remove it and bring the weights with ./studio checkpoints download htdemucs.",
        )
    try:
        with torch.serialization.safe_globals(list(_PICKLED)):
            package = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        klass, args, kwargs, state = (package[name] for name in ("klass", "args", "kwargs", "state"))
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as broken:
        raise CheckpointError(f"{path.name} cannot be opened: {_shortened(broken)}", REPAIR) from broken
    if klass is not HTDemucs:
        raise CheckpointError(f"{path.name} is made for {klass!r}.", REPAIR)
    return _checked(path, args, kwargs, state)


def _checked(path: Path, args: object, kwargs: object, state: object) -> tuple[Arguments, dict[str, Tensor]]:
    """The parts in their types; a quantised state is refused, whose tensors are packed by classes that it names."""
    named = isinstance(state, dict) and all(
        isinstance(key, str) and key != "__quantized" and isinstance(value, Tensor) for key, value in state.items()
    )
    if not (named and isinstance(args, list | tuple) and isinstance(kwargs, dict)):
        raise CheckpointError(f"{path.name} holds something else than plain tensors and their network.", REPAIR)
    assert isinstance(state, dict)
    return (list(args), kwargs), state


def _built(path: Path, arguments: Arguments, state: dict[str, Tensor]) -> HTDemucs:
    """The network with its weights, which leaves torch's generator as it was."""
    args, kwargs = arguments
    package = {"klass": HTDemucs, "args": args, "kwargs": dict(kwargs), "state": state}
    try:
        with torch.random.fork_rng(devices=()), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # arguments that newer versions do not know are left out
            network = load_model(package)
    except (RuntimeError, TypeError, ValueError, AttributeError, AssertionError, ZeroDivisionError) as unfit:
        raise CheckpointError(f"The weights in {path.name} do not fit: {_shortened(unfit)}", REPAIR) from unfit
    assert isinstance(network, HTDemucs)
    if sorted(network.sources) != sorted(STEMS) or network.audio_channels != CHANNELS:
        parts = ", ".join(map(str, network.sources))
        raise CheckpointError(
            f"{path.name} takes {network.audio_channels} channels apart into {parts}.",
            f"Stems are {', '.join(STEMS)} of stereo: choose such a network.",
        )
    return network.float().eval().requires_grad_(False)


def _store(path: Path, arguments: Arguments, state: dict[str, Tensor]) -> None:
    """Write the weights as Demucs publishes them; a folder that cannot be written to is left as it is."""
    args, kwargs = (json.dumps(part, default=_plain) for part in arguments)
    tensors = {key: tensor.contiguous() for key, tensor in state.items()}
    content = save(tensors, metadata={"klass": KLASS, "args": args, "kwargs": kwargs})
    try:
        write_whole(path, content)
        log.info("%s stored as safetensors", path.stem)
    except OSError as refused:
        log.warning("%s is not stored as safetensors: %s", path.stem, refused)


def _plain(value: object) -> object:
    """A value in JSON: fractions as `demucs.hf` reads them, numpy's scalars as numbers."""
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    return value.item() if isinstance(value, np.generic) else str(value)


def _fraction(found: dict[str, Any]) -> object:
    if found.get("_type") == "fraction":
        return Fraction(found["numerator"], found["denominator"])
    return found


def _shortened(error: Exception) -> str:
    return textwrap.shorten(str(error), 300)
