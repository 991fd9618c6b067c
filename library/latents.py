"""Latents kept beside a song: they say which sound they belong to, and are used for no other one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from core.files import write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Latents = NDArray[np.float16]

SOUND, CONTENT = "sha256", "latents_sha256"
"""In the file's metadata: the SHA-256 of the song's wav file, and that of the latents themselves."""

_KEY = "latents"


class Kept(NamedTuple):
    """Latents `(T, C)`, or None and why those that are there cannot be used; no fault where there are none."""

    latents: Latents | None
    fault: str = ""


def write(path: Path, latents: Latents, sound: str) -> None:
    """Write the latents of the song whose wav file has that SHA-256. Raises OSError."""
    rows = latents.astype("f2", order="C")
    write_whole(path, to_safetensors({_KEY: rows}, metadata={SOUND: sound, CONTENT: _digest(rows)}))


def read(path: Path, sound: str, shape: tuple[int, int] | None = None) -> Kept:
    """The latents of a file, if they are those of the song with that SHA-256 and of that shape `(T, C)`.

    Files from before latents were bound to their song do not name it: those are told by their shape alone.
    """
    if not path.is_file():
        return Kept(None)
    try:
        with safe_open(path, framework="np") as file:
            named, latents = file.metadata() or {}, file.get_tensor(_KEY)
    except (OSError, SafetensorError, TypeError, ValueError) as broken:  # a number format that numpy lacks, too
        return Kept(None, f"they cannot be read ({' '.join(str(broken).split())[:120]})")
    fault = _fault(latents, shape, sound, named.get(SOUND, sound), named.get(CONTENT, ""))
    return Kept(None if fault else latents, fault)


def _fault(latents: Latents, shape: tuple[int, int] | None, sound: str, bound: str, content: str) -> str:
    if bound != sound:
        return "they belong to another song"
    if latents.dtype != np.float16 or latents.ndim != 2:
        return f"they are {latents.dtype} of shape {latents.shape}, not float16 in rows"
    if shape is not None and latents.shape != shape:
        return f"their shape is {latents.shape}, the song's {shape}"
    if not np.isfinite(latents).all():
        return "some of their numbers are not finite"
    if content and content != _digest(latents):
        return "their numbers are not those that were saved"
    return ""


def _digest(latents: Latents) -> str:
    return hashlib.sha256(latents.tobytes()).hexdigest()
