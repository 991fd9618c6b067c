"""Recordings that are brought into a library: tracks that nobody made here, to be covered, edited and taken apart."""

from __future__ import annotations

from pathlib import Path

from core.files import sha256
from library import decoder
from library.records import Record, Track
from library.tracks import NAME_CHARS, Library


def bring_in(library: Library, path: Path, field: str = "recording") -> Track:
    """The new track of a recording, as the studio hears it: 48 kHz, stereo, 24 bits.

    It is called by the name of its file. Raises RequestError, with `field` as the name of the fault, for what cannot be
    read, and StudioError when the disk refuses.
    """
    waveform = decoder.load(path, field)
    title = " ".join(path.stem.replace("_", " ").split())[:NAME_CHARS] or "Recording"
    record = Record(mode="recording", title=title, checkpoint="", seed=0, hashes={"file": sha256(path)})
    return library.save(waveform, None, record)
