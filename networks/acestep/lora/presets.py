"""The adapters on this machine, and those that a request names."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from core.adapters import AdapterChoice
from core.errors import AdapterError, Fault, RequestError
from core.paths import presets_folder
from networks.acestep.lora.adapter import CONFIG, LYCORIS_WEIGHTS, WEIGHTS, Adapter, check_fit, describe, linear_shapes


def presets() -> dict[str, Path]:
    """The adapters of the presets folder by name: .safetensors files without their ending, and folders of one."""
    found = sorted(presets_folder().glob("*"))
    return {
        path.stem if path.suffix == ".safetensors" else path.name: path
        for path in found
        if path.suffix == ".safetensors" or any((path / name).is_file() for name in (CONFIG, *LYCORIS_WEIGHTS))
    }


def locate(name: str, allowed: Sequence[Path] | None = None) -> Path:
    """The path of an adapter that a request names: a preset, or a path.

    Where strangers may ask, `allowed` are the folders that a path must lie in; None allows any. Raises AdapterError.
    """
    if name in (known := presets()):
        return known[name]
    path = Path(name)
    if allowed is not None:
        inside = (path.resolve().is_relative_to(folder.resolve()) for folder in (presets_folder(), *allowed))
        if not any(inside):  # refused before anything reveals whether the file exists
            raise AdapterError(
                "An adapter must be a preset or an uploaded file.", f"Presets are: {', '.join(known) or 'none'}."
            )
    return path


def open_adapters(
    choices: Sequence[AdapterChoice], checkpoint: Path, allowed: Sequence[Path] | None = None
) -> tuple[Adapter, ...]:
    """The adapters that a request names, checked against the DiT in a checkpoint's folder.

    A path must lie in one of the folders `allowed`, as in `locate`. Raises RequestError with a fault of the knob
    `adapters` for each that cannot be applied.
    """
    shapes = linear_shapes(checkpoint) if choices else {}
    adapters: dict[str, Adapter] = {}
    faults, hints = [], []
    for choice in choices:
        try:
            adapter = describe(locate(choice.name, allowed))
            check_fit(adapter, shapes)
            if adapter.sha256 in adapters:
                raise AdapterError(f"{adapter.title} is named twice.", "Name each adapter once.")
        except AdapterError as refused:
            faults.append(Fault("adapters", choice.name, refused.message.rstrip(".")))
            hints.append(refused.hint)
        else:
            adapters[adapter.sha256] = dataclasses.replace(adapter, weight=choice.weight)
    if faults:
        raise RequestError(faults, hints[0])
    return tuple(adapters.values())


def gather(files: Sequence[Path], folder: Path) -> Path:
    """The path of the adapter that uploaded files make: a single file, or the two of a PEFT folder put side by side.

    Uploads arrive each in a folder of its own; the PEFT folder is written inside `folder`. Raises AdapterError.
    """
    if len(files) == 1:
        return files[0]
    by_name = {file.name: file for file in files}
    if set(by_name) != {WEIGHTS, CONFIG}:
        two = f"{WEIGHTS} and {CONFIG}"
        raise AdapterError("An adapter is one .safetensors file or a PEFT folder.", f"Of a folder choose {two}.")
    peft_folder = Path(tempfile.mkdtemp(prefix="adapter-", dir=folder))
    for name, file in by_name.items():
        shutil.copyfile(file, peft_folder / name)
    return peft_folder
