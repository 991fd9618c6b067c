"""The checkpoints: where each comes from, what it weighs, how it wants to be run, and where it lies on this machine.

A checkpoint is one row. `find` is the road from its name to its folder: nano lies in the repository, the others in
the models folder or in Hugging Face's cache. Nothing here loads a framework or touches the network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from errors import Fault, MissingWeights, RequestError
from params import GUIDED, Recipe
from params_plan import LM_KNOBS

ROOT = Path(__file__).parent
Use = Literal["song", "companion", "planner", "lyrics", "stems", "musicgen"]

_PARTS = "transformer condition_encoder audio_tokenizer audio_token_detokenizer vae text_encoder"
DIFFUSERS_SONG = (
    "model_index.json",
    *(f"{part}/{file}" for part in _PARTS.split() for file in ("config.json", "*.safetensors*")),
    "tokenizer/tokenizer.json",
)
ORIGINAL_SONG = ("config.json", "*.safetensors*", "silence_latent.pt")
COMPANION = (
    "vae/config.json",
    "vae/*.safetensors*",
    "Qwen3-Embedding-0.6B/config.json",
    "Qwen3-Embedding-0.6B/*.safetensors*",
    "Qwen3-Embedding-0.6B/tokenizer.json",
)
LANGUAGE_MODEL = ("config.json", "*.safetensors*", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One set of weights.

    `files` are the patterns of what is needed of the repository, below `folder`; all of them found means installed.
    `bytes` is the size of the download, to about 5 %; `parameters` counts the song's, planner's or writer's own
    networks, in billions. A song's row has a recipe; `companion` names the row that
    holds the VAE and the text encoder when the song's folder is in upstream's original layout. `url` stands where
    there is no repository. `dtype` is the type to run in, None for the device's usual one.
    """

    name: str
    title: str
    use: Use
    repo: str
    files: tuple[str, ...]
    bytes: int
    parameters: float
    licence: str
    revision: str = "main"
    folder: str = ""
    url: str = ""
    companion: str | None = None
    dtype: Literal["float32"] | None = None
    recipe: Recipe | None = None


@dataclass(frozen=True)
class Installed:
    """A checkpoint on this machine: its folder, and the folder of its companion if it has one."""

    checkpoint: Checkpoint
    folder: Path
    companion: Path | None = None


_NO_GUIDANCE = "turbo has its guidance distilled into its weights"
_XL_TFLOP, _2B_TFLOP = 0.105, 0.040  # 2 x parameters of the DiT x 12.5 tokens for a second of audio
_XL_BILLIONS, _2B_BILLIONS = 4.987, 2.394
_MIN_FRAMES = 128  # upstream pads shorter songs to 5.12 s


_COMPOSED = "its planner is a composer, not a language model"
_NO_TRACKS = "only base checkpoints were trained to make single tracks"
_MUTED = MappingProxyType({"task_type": _NO_TRACKS, "tracks": _NO_TRACKS})


def _guided(steps: int, tflop: float, muted: Mapping[str, str] = _MUTED) -> Recipe:
    return Recipe(
        inference_steps=steps,
        guidance_scale=7.0,
        shift=1.0,
        min_frames=_MIN_FRAMES,
        dit_tflop=tflop,
        muted=muted,
    )


def _base(tflop: float) -> Recipe:
    return _guided(50, tflop, MappingProxyType({}))


def _turbo(tflop: float) -> Recipe:
    """Eight steps with shift 3, which turbo was distilled for: with shift 1 it comes out broken."""
    return Recipe(
        inference_steps=8,
        guidance_scale=1.0,
        shift=3.0,
        min_frames=_MIN_FRAMES,
        dit_tflop=tflop,
        muted=MappingProxyType({**_MUTED, **dict.fromkeys(("guidance_scale", *GUIDED), _NO_GUIDANCE)}),
        fixed=MappingProxyType({"guidance_scale": 1.0}),
    )


_NANO = Recipe(
    inference_steps=8,
    guidance_scale=1.0,
    shift=1.0,
    structure="latents",
    task_of_latents="complete",
    planner="composer",
    tracks=("DRUMS", "BASS", "KEYBOARD", "VOCALS"),
    dit_tflop=0.0003,
    vae_tflop=0.003,
    muted=MappingProxyType({"vocal_language": "nano sings no words", **_MUTED, **dict.fromkeys(LM_KNOBS, _COMPOSED)}),
    fixed=MappingProxyType({"vocal_language": "unknown"}),
)


def _song(name: str, title: str, repo: str, size: float, recipe: Recipe) -> Checkpoint:
    return Checkpoint(
        name=name, title=title, use="song", repo=f"ACE-Step/{repo}", files=DIFFUSERS_SONG, bytes=int(size * 1e9),
        parameters=_XL_BILLIONS, licence="MIT", companion="companion", recipe=recipe,
    )  # fmt: skip


def _original(name: str, title: str, repo: str, folder: str, recipe: Recipe) -> Checkpoint:
    return Checkpoint(
        name=name, title=title, use="song", repo=f"ACE-Step/{repo}", folder=folder, files=ORIGINAL_SONG,
        bytes=int(4.8e9), parameters=_2B_BILLIONS, licence="MIT", companion="companion", recipe=recipe,
    )  # fmt: skip


def _language(name: str, title: str, use: Use, repo: str, size: float, licence: str, *, folder: str = "") -> Checkpoint:
    """Weights of `size` GB: MusicGen's are stored in float32, the others in bfloat16."""
    return Checkpoint(
        name=name, title=title, use=use, repo=repo, folder=folder, files=LANGUAGE_MODEL, bytes=int(size * 1e9),
        parameters=size / (4 if use == "musicgen" else 2), licence=licence,
    )  # fmt: skip


_ROWS = (
    Checkpoint(
        name="nano", title="nano · ships with the studio", use="song", repo="", files=DIFFUSERS_SONG, bytes=0,
        parameters=0.02, licence="MIT", dtype="float32", recipe=_NANO,
    ),
    _song("xl-sft", "ACE-Step 1.5 XL SFT", "acestep-v15-xl-sft-diffusers", 11.5, _guided(27, _XL_TFLOP)),
    _song("xl-turbo", "ACE-Step 1.5 XL turbo", "acestep-v15-xl-turbo-diffusers", 14.4, _turbo(_XL_TFLOP)),
    _song("xl-base", "ACE-Step 1.5 XL base", "acestep-v15-xl-base-diffusers", 11.5, _base(_XL_TFLOP)),
    _original("2b-turbo", "ACE-Step 1.5 turbo", "Ace-Step1.5", "acestep-v15-turbo", _turbo(_2B_TFLOP)),
    _original("2b-sft", "ACE-Step 1.5 SFT", "acestep-v15-sft", "", _guided(50, _2B_TFLOP)),
    _original("2b-base", "ACE-Step 1.5 base", "acestep-v15-base", "", _base(_2B_TFLOP)),
    Checkpoint(
        name="companion", title="VAE and text encoder of the 2B checkpoints", use="companion",
        repo="ACE-Step/Ace-Step1.5", files=COMPANION, bytes=1_550_000_000, parameters=0.765, licence="MIT",
    ),
    _language("lm-0.6b", "5 Hz planner 0.6B", "planner", "ACE-Step/acestep-5Hz-lm-0.6B", 1.33, "MIT"),
    _language(
        "lm-1.7b", "5 Hz planner 1.7B", "planner", "ACE-Step/Ace-Step1.5", 3.4, "MIT", folder="acestep-5Hz-lm-1.7B"
    ),
    _language("lm-4b", "5 Hz planner 4B", "planner", "ACE-Step/acestep-5Hz-lm-4B", 8.38, "MIT"),
    _language("qwen-7b", "Qwen 2.5 7B Instruct", "lyrics", "Qwen/Qwen2.5-7B-Instruct", 15.2, "Apache-2.0"),
    _language("qwen-3b", "Qwen 2.5 3B Instruct", "lyrics", "Qwen/Qwen2.5-3B-Instruct", 6.2, "Qwen Research"),
    _language("qwen-1.5b", "Qwen 2.5 1.5B Instruct", "lyrics", "Qwen/Qwen2.5-1.5B-Instruct", 3.1, "Apache-2.0"),
    Checkpoint(
        name="htdemucs", title="Hybrid Transformer Demucs", use="stems", repo="", files=("955717e8-8726e21a.th",),
        bytes=84_000_000, parameters=0.042, licence="MIT",
        url="https://dl.fbaipublicfiles.com/demucs/hybrid_transformer/955717e8-8726e21a.th",
    ),
    _language("musicgen-small", "MusicGen small", "musicgen", "facebook/musicgen-small", 2.4, "CC-BY-NC-4.0"),
    _language("musicgen-medium", "MusicGen medium", "musicgen", "facebook/musicgen-medium", 8.0, "CC-BY-NC-4.0"),
)  # fmt: skip

CHECKPOINTS: Mapping[str, Checkpoint] = MappingProxyType({row.name: row for row in _ROWS})
PREFERRED = ("xl-sft", "xl-turbo", "xl-base", "2b-sft", "2b-turbo", "2b-base", "nano")
"""Song checkpoints in the order in which the studio takes the first that is installed."""

PLANNERS = ("lm-4b", "lm-1.7b", "lm-0.6b")
"""Planners, the best first."""

ON_SPACES = ("xl-sft",)
"""What a hosted Space brings along when it is built: `preload_from_hub` in README.md."""


def row(name: str, use: Use | None = None) -> Checkpoint:
    """The checkpoint of that name, and of that use when one is asked for.

    Raises RequestError when there is none, listing those there are.
    """
    known = {each.name: each for each in CHECKPOINTS.values() if use in (None, each.use)}
    if name not in known:
        raise RequestError([Fault("checkpoint", name, f"must be one of {', '.join(known)}")])
    return known[name]


def recipe_of(name: str) -> Recipe:
    """The recipe of a song's checkpoint; raises RequestError when it renders no songs."""
    recipe = row(name, "song").recipe
    assert recipe is not None
    return recipe


def installed(use: Use = "song") -> tuple[Checkpoint, ...]:
    """The checkpoints of one use that are complete on this machine; songs in the order of preference."""
    rows = [CHECKPOINTS[name] for name in PREFERRED] if use == "song" else CHECKPOINTS.values()
    return tuple(row for row in rows if row.use == use and locate(row) is not None)


def default() -> Checkpoint:
    """The checkpoint that the studio runs on when nobody names one: the first of PREFERRED that is installed."""
    return next(iter(installed()), CHECKPOINTS["nano"])


def find(name: str | None = None) -> Installed:
    """Where a checkpoint lies; None takes the default.

    Raises RequestError when no checkpoint has that name, MissingWeights when it, or its companion, is not installed.
    """
    checkpoint = default() if name is None else row(name)
    place = locate(checkpoint)
    if place is not None:
        return place
    if checkpoint.name == "nano":
        raise MissingWeights("vendor/nano is incomplete.", "Clone the repository again.")
    absent = checkpoint
    if checkpoint.companion and any(not missing(folder, checkpoint) for folder in _folders(checkpoint)):
        absent = CHECKPOINTS[checkpoint.companion]
    raise MissingWeights(
        f"{absent.title} is not installed ({absent.bytes / 1e9:.1f} GB).",
        f"Bring it here with ./studio checkpoints download {absent.name}, or choose an installed checkpoint.",
    )


def planner(name: str | None = None) -> Installed | None:
    """Where a planner lies; None takes the best that is installed, and finds none where there is none.

    Raises RequestError when no planner has that name, MissingWeights when it is not installed.
    """
    if name is None:
        return next(filter(None, (locate(CHECKPOINTS[each]) for each in PLANNERS)), None)
    if name not in PLANNERS:
        raise RequestError([Fault("planner", name, f"must be one of {', '.join(PLANNERS)}")])
    return find(name)


def models_folder() -> Path:
    """Where checkpoints are brought to, each in a folder of its name: ACE_MODELS_DIR, or `models` in the repository."""
    return Path(os.environ.get("ACE_MODELS_DIR") or ROOT / "models")


def nano_folder() -> Path:
    """Where nano lies: ACE_NANO_DIR, or `vendor/nano` in the repository."""
    return Path(os.environ.get("ACE_NANO_DIR") or ROOT / "vendor" / "nano")


def locate(checkpoint: Checkpoint) -> Installed | None:
    """The checkpoint's place when everything it needs is there, its companion included; None otherwise."""
    folder = next((folder for folder in _folders(checkpoint) if not missing(folder, checkpoint)), None)
    if folder is None:
        return None
    if checkpoint.companion is None or (folder / "model_index.json").is_file():
        return Installed(checkpoint, folder)
    companion = locate(CHECKPOINTS[checkpoint.companion])
    return None if companion is None else Installed(checkpoint, folder, companion.folder)


def missing(folder: Path, checkpoint: Checkpoint) -> tuple[str, ...]:
    """The patterns that a folder has no file for, of the layout that it is nearest to."""
    return tuple(pattern for pattern in layout_of(folder, checkpoint) if not _has(folder, pattern))


def layout_of(folder: Path, checkpoint: Checkpoint) -> tuple[str, ...]:
    """The patterns of the layout that a folder is nearest to: a song may lie there in either."""
    layouts = [checkpoint.files]
    if checkpoint.companion:
        layouts += [layout for layout in (DIFFUSERS_SONG, ORIGINAL_SONG) if layout != checkpoint.files]
    return max(layouts, key=lambda layout: sum(_has(folder, pattern) for pattern in layout) / len(layout))


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
