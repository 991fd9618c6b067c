"""Checkpoints that are on this machine already: imported from a folder, verified, and removed again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from checkpoints import find, manifest, table
from checkpoints.download import alone, check_space, disk_errors, folder_of
from checkpoints.find import Installed
from checkpoints.hub import fits, is_extra
from checkpoints.manifest import Kept, Manifest
from checkpoints.meter import Meter
from checkpoints.table import Checkpoint
from core.errors import CheckpointError, Fault, RequestError, StudioError
from core.events import Transfer

Kind = Literal["song", "language model", "files"]
"""What a folder is taken for: of the last, no more is known than that its files are whole."""

SAME_SIZE = 0.2
"""Part by which the number of parameters may differ from the row's, which follows from the size of the download."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A folder whose weights are whole. `checksums` counts the files that were compared with the server's listing."""

    folder: Path
    kind: Kind
    files: int
    bytes: int
    parameters: int
    checksums: int
    turbo: bool = False


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What was taken away, and the files in the folder that stayed because somebody else put them there."""

    folder: Path
    files: int
    bytes: int
    kept: tuple[str, ...]


def verify(folder: Path) -> Generator[Transfer | Verified, None, None]:
    """Events, and at last what the folder holds: its checksums are right and every tensor fits the configuration.

    Checksums are known of what the studio brought. Raises RequestError when there is no such folder, CheckpointError
    naming the files that are damaged or the tensors that are missing, left over or misshapen.
    """
    if not folder.is_dir():
        raise RequestError([Fault("folder", str(folder), "must be a folder that exists")])
    kept = manifest.read(folder)
    files = () if kept is None else kept.files
    meter = Meter("checking", sum(file.bytes for file in files))
    damaged = []
    for file in files:
        path = folder / file.path
        if not path.is_file():
            damaged.append(f"{file.path} (missing)")
        elif not (yield from manifest.has_digest(path, file, meter)):
            damaged.append(file.path)
    if damaged:
        raise CheckpointError(
            f"Not as they were brought: {', '.join(damaged)}.", "Remove the checkpoint and download it again."
        )
    yield meter.event("looking at every tensor")
    yield _surveyed(folder, len(files))


def _surveyed(folder: Path, checksums: int = 0) -> Verified:
    """What a folder holds by its own configuration; raises CheckpointError."""
    from networks.acestep import verification

    kind = _kind_of(folder)
    companion = find.locate(table.CHECKPOINTS["companion"])
    if kind == "song":
        found = verification.verify_song(folder, companion.folder if companion else None)
    else:
        verify = verification.verify_language_model if kind == "language model" else verification.verify_files
        found = verify(folder)
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != manifest.NAME]
    return Verified(
        folder=folder,
        kind=kind,
        files=len(paths),
        bytes=sum(path.stat().st_size for path in paths),
        parameters=found.parameters,
        checksums=checksums,
        turbo=found.turbo,
    )


def _kind_of(folder: Path) -> Kind:
    """What a folder is, by the files in it; raises CheckpointError when there are no weights."""
    if (folder / "model_index.json").is_file() or (folder / "silence_latent.pt").is_file():
        return "song"
    if (folder / "config.json").is_file():
        from networks.musicgen.open import is_musicgen

        return "files" if is_musicgen(folder) else "language model"
    if not any(path.suffix in (".safetensors", ".th") for path in folder.rglob("*")):
        raise CheckpointError(
            f"{folder} holds no checkpoint.", "Name the folder that has config.json or model_index.json."
        )
    return "files"


def import_folder(name: str, source: Path) -> Generator[Transfer | Installed, None, None]:
    """Events of bringing a folder's files in as the checkpoint of that name, and at last where it lies.

    The files are linked, which takes no room, or copied from another disk; the folder itself stays as it is. Raises
    before anything is touched: RequestError, CheckpointError when files are missing, tensors do not fit or the
    weights are those of another checkpoint, StudioError when the checkpoint is here already or the disk refuses.
    """
    checkpoint = table.row(name)
    place = find.locate(checkpoint)
    if place is not None:
        raise StudioError(f"{name} is here already, in {place.folder}.", "Remove it first.")
    paths = _fitting(checkpoint, source)
    folder, meter = folder_of(checkpoint), Meter("copying", sum((source / path).stat().st_size for path in paths))
    with disk_errors(), alone(checkpoint):
        if not _linkable(source, folder):
            check_space(meter.total)
        files = []
        for path in paths:
            file = yield from _take(source / path, folder, checkpoint, path, meter)
            files.append(file)
            manifest.write(folder, Manifest(checkpoint=name, source=str(source.absolute()), files=tuple(files)))
        manifest.drop_partials(folder)
    yield find.checkpoint(name)


def _fitting(checkpoint: Checkpoint, source: Path) -> list[str]:
    """The files of a folder that make up the checkpoint, the marking one last; raises when they do not."""
    if not checkpoint.repo:
        raise StudioError(f"{checkpoint.name} ships with the studio.", "Clone the repository again.")
    if not source.is_dir():
        raise RequestError([Fault("folder", str(source), "must be a folder that exists")])
    patterns, absent = find.layout_of(source, checkpoint), find.missing(source, checkpoint)
    if absent:
        raise CheckpointError(f"{source} lacks {', '.join(absent)}.", f"Name the folder that holds {patterns[0]}.")
    _refuse_other_weights(checkpoint, _surveyed(source))
    every = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    taken = {path for path in every if any(fits(path, pattern) for pattern in patterns)}
    folders = {Path(path).parent for path in taken}
    taken |= {path for path in every if Path(path).parent in folders and _is_extra(source / path)}
    return sorted(taken, key=lambda path: (fits(path, patterns[0]), path))


def _is_extra(path: Path) -> bool:
    return not path.name.startswith(".") and is_extra(path.name, path.stat().st_size)


def _refuse_other_weights(checkpoint: Checkpoint, found: Verified) -> None:
    """Raise CheckpointError when what was found is plainly another checkpoint."""
    billions = found.parameters / 1e9
    if billions and abs(billions / checkpoint.parameters - 1) > SAME_SIZE:
        raise CheckpointError(
            f"{found.folder} holds {billions:.2f} B parameters; {checkpoint.name} has {checkpoint.parameters:.2f} B.",
            "Name the checkpoint that it is: ./studio checkpoints list.",
        )
    # Turbo is known by what it mutes; weights that do not say what they are pass as either.
    if found.turbo and checkpoint.recipe and "guidance_scale" not in checkpoint.recipe.muted:
        raise CheckpointError(f"{found.folder} holds a turbo; {checkpoint.name} is none.", "Name the turbo's row.")


def _take(
    source: Path, folder: Path, checkpoint: Checkpoint, path: str, meter: Meter
) -> Generator[Transfer, None, Kept]:
    """The events of one file that is linked or copied; what is known of it then.

    Raises CheckpointError for a pickle that is not the one pinned; tensors alone may be somebody's own.
    """
    target, partial = folder / path, folder / manifest.PARTIAL / Path(path).name
    for parent in (target.parent, partial.parent):
        parent.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), partial)
    except OSError:  # another disk, or one that knows no links
        with source.open("rb") as read, partial.open("wb") as written:
            while block := read.read(manifest.BLOCK):
                written.write(block)
                if meter.due():
                    yield meter.event(f"copying {path}")
    digest = yield from manifest.hashed(partial, "sha256", meter)
    file = Kept(path=path, bytes=partial.stat().st_size, digest=f"sha256:{digest}")
    if not path.endswith(".safetensors"):
        try:
            checkpoint.check(file)
        except CheckpointError:
            partial.unlink()
            raise
    partial.replace(target)
    return file


def _linkable(source: Path, folder: Path) -> bool:
    return source.resolve().stat().st_dev == folder.stat().st_dev


def is_ours(checkpoint: Checkpoint) -> bool:
    """Whether the studio put the checkpoint, or a part of it, where it lies: only that is removed."""
    try:
        return manifest.read(folder_of(checkpoint)) is not None
    except CheckpointError:
        return False


def remove(name: str, *, consent: bool) -> Removed:
    """What was taken away: the files that the studio put there, and nothing else.

    Raises RequestError without consent, StudioError when the studio put nothing there.
    """
    checkpoint = table.row(name)
    folder = folder_of(checkpoint)
    record = manifest.read(folder)
    if record is None:
        place = find.locate(checkpoint)
        if place is None:
            raise StudioError(f"{name} is not on this machine.", "See ./studio checkpoints list.")
        raise StudioError(f"The studio did not put {name} into {place.folder}.", "Remove that folder by hand.")
    paths = _put_there(checkpoint, record, folder)
    size = manifest.bytes_here(folder)
    if not consent:
        rule = f"must be given: {size / 1e9:.2f} GB are removed from {folder}"
        raise RequestError([Fault("consent", consent, rule)], "Agree with --yes, or with the button on the page.")
    with alone(checkpoint), disk_errors():
        for path in paths:
            path.unlink(missing_ok=True)
        manifest.drop_partials(folder)
        (folder / manifest.NAME).unlink()
        _drop_empty(folder)
        kept = tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))
    return Removed(folder=folder, files=len(paths), bytes=size, kept=kept)


def _put_there(checkpoint: Checkpoint, record: Manifest, folder: Path) -> set[Path]:
    """The files that came with the checkpoint, and those that were made of another layout when it was first used."""
    paths = {folder / file.path for file in record.files}
    if any(fits(file.path, pattern) for file in record.files for pattern in checkpoint.other_files):
        paths |= {path for pattern in checkpoint.files for path in folder.glob(pattern)}
    return paths


def _drop_empty(folder: Path) -> None:
    """Remove the folders below that hold nothing."""
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir()
