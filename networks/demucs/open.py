"""The road to a separator: importing this module loads no framework, opening one does."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from types import MappingProxyType

from core.errors import StudioError
from core.steps import finished, importing
from networks.demucs.separator import Separator

_NO_DIGESTS: Mapping[str, str] = MappingProxyType({})


def open_separator(folder: Path, device: str | None = None, *, digests: Mapping[str, str] = _NO_DIGESTS) -> Separator:
    """As `opening`, at once."""
    return finished(opening(folder, device, digests=digests))


def opening(
    folder: Path, device: str | None = None, *, digests: Mapping[str, str] = _NO_DIGESTS
) -> Generator[None, None, Separator]:
    """Load the htdemucs in `folder`, in float32; a `device` of None chooses the fastest. A step before it is read.

    The folder holds one safetensors file as Demucs publishes it, or the older pickle. A pickle is opened only when
    `digests` names its SHA-256 by its file's name, and is then stored as safetensors beside it. Raises CheckpointError
    for weights that are not such or may not be opened, and StudioError for a device that is not there.
    """
    try:
        yield from importing(f"{__package__}.torch_separator")
    except ImportError as missing:
        raise StudioError(
            f"Demucs cannot be used here: {missing}.",
            "Install what requirements.txt asks for. There is none for Intel Macs.",
        ) from missing
    from networks.demucs.torch_separator import open_torch_separator

    return open_torch_separator(folder, device, digests)
