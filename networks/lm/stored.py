"""How the weights of a language model are stored: what a folder leaves open, settled once for both frameworks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from safetensors import safe_open

from core.errors import CheckpointError

BODY = "model."
"""What the keys of everything but the head begin with; the body saved by itself leaves it out."""

HEAD = "lm_head.weight"

FAMILIES = ("qwen2", "qwen3")
"""The architectures whose decoder takes a mask for each layer type, which is how a batch is padded on torch."""

T = TypeVar("T")


def check_family(folder: Path) -> None:
    """Raise CheckpointError for a model of another family; OSError and ValueError for what cannot be read."""
    family = configuration(folder).get("model_type")
    if family not in FAMILIES:
        raise CheckpointError(f"{folder.name} is a {family}.", f"Choose one of the families {', '.join(FAMILIES)}.")


def head_is_tied(folder: Path) -> bool:
    """Whether the head is the embedding itself: where none of its own is stored, unless the configuration tells of one.

    A head that is stored counts whatever the configuration says, for a fine-tune may have changed it.
    Raises OSError, ValueError and SafetensorError for what cannot be read.
    """
    return configuration(folder).get("tie_word_embeddings") is not False and HEAD not in _keys(folder)


def configuration(folder: Path) -> dict[str, Any]:
    """What `config.json` says. Raises OSError and ValueError."""
    read: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return read


def named(weights: dict[str, T]) -> dict[str, T]:
    """The weights under their whole names, those of a body that was saved by itself included."""
    if any(key.startswith(BODY) for key in weights):
        return weights
    return {key if key == HEAD else BODY + key: value for key, value in weights.items()}


def _keys(folder: Path) -> set[str]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    with safe_open(folder / "model.safetensors", "numpy") as file:
        return set(file.keys())
