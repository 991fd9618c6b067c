"""Where checkpoints lie on this machine: the road from a row of the table to its folder.

nano lies in the repository, the others in the models folder or in Hugging Face's cache. Nothing here loads a framework
or touches the network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from checkpoints import table
from checkpoints.table import DIFFUSERS_SONG, ORIGINAL_SONG, PLANNERS, PREFERRED, Checkpoint, Use
from core.errors import CheckpointError, Fault, MissingWeights, RequestError
from core.paths import models_folder, nano_folder, vae_folder
from networks.acestep.layouts import CODE_PARTS, VAE
from networks.acestep.weights import read_json

MARK = DIFFUSERS_SONG[0]
"""By this file a folder is known for the diffusers layout."""


@dataclass(frozen=True)
class Installed:
    """A checkpoint on this machine: its folder, that of its companion, and that of a VAE in the place of its own."""

    checkpoint: Checkpoint
    folder: Path
    companion: Path | None = None
    other_vae: Path | None = None

    @property
    def vae(self) -> Path:
        """The folder of the VAE that a song's checkpoint is used with."""
        return self.other_vae or (self.companion or self.folder) / VAE

    @property
    def has_codes(self) -> bool:
        """Whether a song's checkpoint reads and writes audio codes: upstream's own layout always does."""
        return not (self.folder / MARK).is_file() or all(_has(self.folder, pattern) for pattern in table.CODES)


def installed(use: Use = "song") -> tuple[Checkpoint, ...]:
    """The checkpoints of one use that are complete on this machine; songs in the order of preference."""
    rows = [table.CHECKPOINTS[name] for name in PREFERRED] if use == "song" else table.CHECKPOINTS.values()
    return tuple(row for row in rows if row.use == use and locate(row) is not None)


def default() -> Checkpoint:
    """The checkpoint that the studio runs on when nobody names one: the first of PREFERRED that is installed."""
    return next(iter(installed()), table.CHECKPOINTS["nano"])


def checkpoint(name: str | None = None) -> Installed:
    """Where a checkpoint lies; None takes the default.

    Raises RequestError when no checkpoint has that name, MissingWeights when it, or its companion, is not installed.
    """
    found = default() if name is None else table.row(name)
    place = locate(found)
    if place is not None:
        return _with_other_vae(place) if found.use == "song" else place
    if found.name == "nano":
        raise MissingWeights("vendor/nano is incomplete.", "Clone the repository again.")
    absent = found
    if found.companion and any(not missing(folder, found) for folder in _folders(found)):
        absent = table.CHECKPOINTS[found.companion]
    raise MissingWeights(
        f"{absent.title} is not installed ({absent.size}).",
        f"Bring it here with ./studio checkpoints download {absent.name}, or choose an installed checkpoint.",
        checkpoint=absent.name,
    )


def no_codes(place: Installed) -> str:
    """What a checkpoint without the networks of codes lacks, for a message."""
    return f"{place.checkpoint.name} came without {' and '.join(CODE_PARTS)}"


def _with_other_vae(place: Installed) -> Installed:
    """The place with the VAE of ACE_VAE_DIR, where it has one that could be replaced.

    Raises CheckpointError for one that is built otherwise than its own.
    """
    other = vae_folder()
    if other is None or not (place.vae / "config.json").is_file():
        return place
    built, usual = ({name: value for name, value in read_json(folder / "config.json").items() if name[0] != "_"}
                    for folder in (other, place.vae))  # fmt: skip
    if differing := sorted(name for name in usual if built.get(name) != usual[name]):
        raise CheckpointError(
            f"The VAE in {other} is not built as that of {place.checkpoint.title}: {', '.join(differing)}.",
            "Choose another VAE or another checkpoint, or unset ACE_VAE_DIR.",
        )
    return replace(place, other_vae=other)


def planner(name: str | None = None) -> Installed | None:
    """Where a planner lies; None takes the best that is installed, and finds none where there is none.

    Raises RequestError when no planner has that name, MissingWeights when it is not installed.
    """
    if name is None:
        return next(filter(None, (locate(table.CHECKPOINTS[each]) for each in PLANNERS)), None)
    if name not in PLANNERS:
        raise RequestError([Fault("planner", name, f"must be one of {', '.join(PLANNERS)}")])
    return checkpoint(name)


def locate(checkpoint: Checkpoint) -> Installed | None:
    """The checkpoint's place when everything it needs is there, its companion included; None otherwise."""
    folder = next((folder for folder in _folders(checkpoint) if not missing(folder, checkpoint)), None)
    if folder is None:
        return None
    if checkpoint.companion is None or (folder / MARK).is_file():
        return Installed(checkpoint, folder)
    companion = locate(table.CHECKPOINTS[checkpoint.companion])
    return None if companion is None else Installed(checkpoint, folder, companion.folder)


def missing(folder: Path, checkpoint: Checkpoint) -> tuple[str, ...]:
    """The patterns that a folder has no file for, of the layout that it is nearest to."""
    return tuple(pattern for pattern in layout_of(folder, checkpoint) if not _has(folder, pattern))


def layout_of(folder: Path, checkpoint: Checkpoint) -> tuple[str, ...]:
    """The patterns of the layout that a folder is nearest to, completed: some may lie there in either of two."""
    layouts = [checkpoint.files]
    if checkpoint.other_files:
        layouts.append(checkpoint.other_files)
    if checkpoint.companion:
        layouts += [layout for layout in (DIFFUSERS_SONG, ORIGINAL_SONG) if layout != checkpoint.files]
    nearest = max(layouts, key=lambda layout: sum(_has(folder, pattern) for pattern in layout) / len(layout))
    return table.completed(nearest, lambda pattern: any(folder.glob(pattern)))


def _folders(checkpoint: Checkpoint) -> list[Path]:
    if checkpoint.name == "nano":
        return [nano_folder()]
    folders = [models_folder() / checkpoint.name]
    if checkpoint.repo and (snapshot := _cached_snapshot(checkpoint.repo, checkpoint.revision)):
        folders.append(snapshot / checkpoint.folder)
    return folders


def _cached_snapshot(repo: str, revision: str) -> Path | None:
    """The folder of a repository in Hugging Face's cache; None when it was never downloaded."""
    from huggingface_hub.constants import HF_HUB_CACHE

    base = Path(HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    reference = base / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    snapshot = base / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def _has(folder: Path, pattern: str) -> bool:
    found = list(folder.glob(pattern))
    indexes = [path for path in found if path.name.endswith(".safetensors.index.json")]
    if not all((index.parent / shard).is_file() for index in indexes for shard in _shards(index)):
        return False
    return any(path not in indexes for path in found)


def _shards(index: Path) -> set[str]:
    """The files that an index names; a broken index is left for the runtime to refuse."""
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()
