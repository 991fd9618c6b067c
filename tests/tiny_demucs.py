"""A random htdemucs of the real class, small enough for a test, and the files that Demucs has kept such networks in."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demucs.htdemucs import HTDemucs
from safetensors.torch import save_file

from networks.demucs.stored import KLASS

SIGNATURE = "0a1b2c3d"
SOURCES = ["drums", "bass", "other", "vocals"]
"""In the order in which the published network gives them."""

SEGMENT_S = Fraction(1, 5)


def tiny_arguments(samplerate: int = 44_100, segment_s: Fraction = SEGMENT_S) -> dict[str, Any]:
    """What a tiny network is made with: as many layers as the published one, of few channels."""
    return {
        "sources": SOURCES, "samplerate": samplerate, "segment": segment_s, "channels": 4, "depth": 4, "nfft": 1024,
        "bottom_channels": 8, "t_layers": 1, "t_heads": 2, "t_hidden_scale": 1.0, "dconv_mode": 3, "dconv_comp": 2,
        "t_cape_glob_loc_scale": [5000.0, 1.0, 1.4],
    }  # fmt: skip


def tiny_network(samplerate: int = 44_100, segment_s: Fraction = SEGMENT_S) -> HTDemucs:
    """The network, whose weights are rounded to 16 bits, as they are published."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = HTDemucs(**tiny_arguments(samplerate, segment_s))
    network.load_state_dict({key: value.half().float() for key, value in network.state_dict().items()})
    return network.eval().requires_grad_(False)


def package(network: HTDemucs, **changed: object) -> dict[str, object]:
    """What Demucs pickles of a network: its class, what it is made with, its weights, and how it was trained."""
    state = {key: value.half() for key, value in network.state_dict().items()}
    scores = {"nsdr": np.float64(1.5)}
    facts = {
        "klass": HTDemucs,
        "args": (),
        "kwargs": tiny_arguments(network.samplerate, network.segment),
        "state": state,
    }
    return {**facts, "training_args": {"epochs": 1, "dset": {"names": ["a"]}}, "metrics": scores, **changed}


def save_pickle(folder: Path, content: dict[str, object]) -> Path:
    """Write the pickle as it was published, named by its digest, with the name that numpy had for its scalars then."""
    written, rewritten = io.BytesIO(), io.BytesIO()
    torch.save(content, written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(rewritten, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{SIGNATURE}-{hashlib.sha256(rewritten.getvalue()).hexdigest()[:8]}.th"
    path.write_bytes(rewritten.getvalue())
    return path


def install_separator(path: Path) -> None:
    """Write a tiny random network as Demucs publishes its own."""

    def plain(value: Fraction) -> dict[str, object]:
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}

    path.parent.mkdir(parents=True)
    made_with = {"klass": KLASS, "args": "[]", "kwargs": json.dumps(tiny_arguments(), default=plain)}
    save_file({name: value.half() for name, value in tiny_network().state_dict().items()}, path, made_with)
