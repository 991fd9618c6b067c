"""The checkpoints, one row each: where it comes from, what it weighs, and how it wants to be run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from checkpoints.manifest import Kept
from core.errors import CheckpointError, Fault, RequestError
from core.params import GUIDED, LM_KNOBS, TOKENS
from core.recipes import Recipe
from networks.acestep.layouts import CODE_PARTS
from networks.acestep.published import TEXT_ENCODER_BILLIONS, VAE_BILLIONS
from networks.machine import ON_ZERO_GPU, RuntimeName

Use = Literal["song", "companion", "planner", "lyrics", "stems"]


def _files_of(*parts: str) -> tuple[str, ...]:
    return tuple(f"{part}/{file}" for part in parts for file in ("config.json", "*.safetensors*"))


DIFFUSERS_SONG = (
    "model_index.json",
    *_files_of("transformer", "condition_encoder", "vae", "text_encoder"),
    "tokenizer/tokenizer.json",
)
CODES = _files_of(*CODE_PARTS)
"""What the diffusers layout may have besides, all of it or nothing: the networks that read and write audio codes."""

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

    `files` are the patterns of what is needed of the repository, below `folder`; all of them found means installed,
    `completed` by what goes with them.
    `bytes` is the size of the download, to about 5 %; `parameters` counts the song's, planner's or writer's own
    networks, in billions. A song's row has a recipe; `companion` names the row that
    holds the VAE and the text encoder when the song's folder is in upstream's original layout. `other_files` are the
    patterns of another layout that serves as well, for who has it already. `pinned` are files that are known to the
    byte: no other is taken under their names. `dtype` is the type to run in, None for the device's usual one, and
    `runtime` the framework that alone can run it, None where any can.
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
    other_files: tuple[str, ...] = ()
    pinned: tuple[Kept, ...] = ()
    companion: str | None = None
    dtype: Literal["float32"] | None = None
    runtime: RuntimeName | None = None
    recipe: Recipe | None = None

    @property
    def size(self) -> str:
        """How much there is to bring, in words."""
        return in_words(self.bytes)

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of the pinned files, in hexadecimal, by their paths."""
        return {file.path: file.digest.removeprefix("sha256:") for file in self.pinned}

    def check(self, file: Kept) -> None:
        """Raise CheckpointError for a file that is not the one pinned under its path."""
        known = next((pinned for pinned in self.pinned if pinned.path == file.path), file)
        if (known.bytes, known.digest) != (file.bytes, file.digest):
            raise CheckpointError(
                f"{file.path} is not the file that {self.name} is known by: {file.bytes} bytes, {file.digest}.",
                "It was not taken. Update the studio: the file may have been published anew.",
            )


def in_words(size: int) -> str:
    """So many bytes, as people say it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


_NO_GUIDANCE = "turbo has its guidance distilled into its weights"
_XL_TFLOP, _2B_TFLOP = 0.105, 0.040  # 2 x parameters of the DiT x 12.5 tokens for a second of audio
_XL_BILLIONS, _2B_BILLIONS = 4.987, 2.394
_MIN_FRAMES = 128  # upstream pads shorter songs to 5.12 s


_COMPOSED = "its planner is a composer, not a language model"
_NO_TRACKS = "only base checkpoints were trained to make single tracks"
_DENOISED = MappingProxyType(dict.fromkeys(TOKENS, "its songs are denoised, not drawn token by token"))
_MUTED = MappingProxyType({**_DENOISED, "task_type": _NO_TRACKS, "tracks": _NO_TRACKS})


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
    return _guided(50, tflop, _DENOISED)


def _turbo(tflop: float) -> Recipe:
    """Eight steps with shift 3, which turbo was distilled for: with shift 1 it comes out broken. DCW as upstream."""
    return Recipe(
        inference_steps=8,
        guidance_scale=1.0,
        shift=3.0,
        dcw_enabled=True,
        min_frames=_MIN_FRAMES,
        dit_tflop=tflop,
        muted=MappingProxyType({**_MUTED, **dict.fromkeys(("guidance_scale", *GUIDED), _NO_GUIDANCE)}),
        fixed=MappingProxyType({"guidance_scale": 1.0}),
    )


_NO_PREVIEW = "would use up the minutes that visitors have on a shared GPU"
_NO_WORDS = "nano sings no words"
_NANO_MUTED = MappingProxyType({"vocal_language": _NO_WORDS, "chunk_mask": "nano was trained on explicit masks alone"})
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
    unsung=f"{_NO_WORDS}: its voice holds vowels, one note for each syllable",
    muted=MappingProxyType({**_NANO_MUTED, **_MUTED, **dict.fromkeys(LM_KNOBS, _COMPOSED)}),
    fixed=MappingProxyType({"vocal_language": "unknown", "chunk_mask": "explicit"}),
)


MUSICGEN = LANGUAGE_MODEL
"""Networks of all three parts in one set of files, and the tokenizer of the words."""

_DRAWN = "MusicGen draws tokens of sound one after the other and denoises nothing"
_UNPLANNED = "MusicGen plans nothing: it draws the sound from the words at once"
_INSTRUMENTAL = "MusicGen sings no words"
_OF_DENOISING = (
    *("inference_steps", "infer_method", "solver", "chunk_mask", "retake_variance", "retake_seed", "preview"),
    *("cfg_interval_start", "cfg_interval_end", "guidance_rule", "use_adg", "shift", "schedule", "timesteps"),
    *("dcw_enabled", "dcw_mode", "dcw_scaler", "dcw_high_scaler", "dcw_wavelet"),
)
_CHROMA = "MusicGen takes of a source its melody alone, as the strongest pitch class of each moment"
_MUSICGEN_MUTED = MappingProxyType(
    {
        **dict.fromkeys(_OF_DENOISING, _DRAWN),
        **dict.fromkeys((*LM_KNOBS, "thinking", "plan"), _UNPLANNED),
        **dict.fromkeys(("lyrics", "instrumental", "vocal_language"), _INSTRUMENTAL),
        "timesignature": "MusicGen was trained on words for tempo and key, and on none for a metre",
        "adapters": "the studio has no adapters for MusicGen",
        "side": "MusicGen goes on from what was before; it cannot lead up to what comes after",
        "reference_audio": "MusicGen takes no timbre from a recording",
        **dict.fromkeys(("audio_cover_strength", "cover_noise_strength", "cover_structure"), _CHROMA),
        **dict.fromkeys(("task_type", "tracks"), _NO_TRACKS),
    }
)
_NO_EDIT = "MusicGen goes on from what was before, and cannot meet what comes after a stretch"
_NO_MELODY = "only MusicGen's melody checkpoints take a melody"


def _musicgen(
    name: str, title: str, billions: tuple[float, float], cache_gb: float, *, melody: bool = False
) -> Checkpoint:
    """MusicGen of so many parameters, all of it and the decoder alone, published in float32."""
    whole, decoder = billions
    recipe = Recipe(
        engine="musicgen",
        planner="none",
        inference_steps=1,
        guidance_scale=3.0,
        shift=1.0,
        temperature=1.0,
        top_k=250,
        song_s=(5, 120),
        cover_s=(5, 120),
        dit_tflop=0.0,
        vae_tflop=0.02,
        tokens_hz=50.0,
        token_billions=decoder,
        cache_gb=cache_gb,
        unable=MappingProxyType({"edit": _NO_EDIT} if melody else {"edit": _NO_EDIT, "cover": _NO_MELODY}),
        muted=_MUSICGEN_MUTED,
        fixed=MappingProxyType({"instrumental": True}),
    )
    return Checkpoint(
        name=name, title=title, use="song", repo=f"facebook/{name}", files=MUSICGEN, bytes=int(4e9 * whole),
        parameters=whole, licence="CC-BY-NC-4.0", runtime="torch", recipe=recipe,
    )  # fmt: skip


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


def _language(
    name: str, title: str, use: Use, repo: str, weight: tuple[float, float], licence: str, *, folder: str = ""
) -> Checkpoint:
    """A language model; its `weight` is gigabytes to bring, and billions of parameters."""
    size, billions = weight
    return Checkpoint(
        name=name, title=title, use=use, repo=repo, folder=folder, files=LANGUAGE_MODEL, bytes=int(size * 1e9),
        parameters=billions, licence=licence,
    )  # fmt: skip


_HTDEMUCS = Kept(
    path="955717e8.safetensors", bytes=84_025_440,
    digest="sha256:d9fa14133cfcc034a6758923bb3a8ca9f8dfd0b582134643bbf83f72c17576dd",
)  # fmt: skip
_HTDEMUCS_PICKLE = Kept(
    path="955717e8-8726e21a.th", bytes=84_141_911,
    digest="sha256:8726e21a993978c7ba086d3872e7608d7d5bfca646ca4aca459ffda844faa8b4",
)  # fmt: skip
"""What was published before it, with the same weights: many have it in torch's cache."""

_ROWS = (
    Checkpoint(
        name="nano", title="nano · ships with the studio", use="song", repo="", files=DIFFUSERS_SONG, bytes=0,
        parameters=0.02, licence="MIT", dtype="float32", recipe=_NANO,
    ),
    _song("xl-sft", "ACE-Step 1.5 XL SFT", "acestep-v15-xl-sft-diffusers", 11.5, _guided(27, _XL_TFLOP)),
    _song("xl-turbo", "ACE-Step 1.5 XL turbo", "acestep-v15-xl-turbo-diffusers", 11.1, _turbo(_XL_TFLOP)),
    _song("xl-base", "ACE-Step 1.5 XL base", "acestep-v15-xl-base-diffusers", 11.5, _base(_XL_TFLOP)),
    _original("2b-turbo", "ACE-Step 1.5 turbo", "Ace-Step1.5", "acestep-v15-turbo", _turbo(_2B_TFLOP)),
    _original("2b-sft", "ACE-Step 1.5 SFT", "acestep-v15-sft", "", _guided(50, _2B_TFLOP)),
    _original("2b-base", "ACE-Step 1.5 base", "acestep-v15-base", "", _base(_2B_TFLOP)),
    Checkpoint(
        name="companion", title="VAE and text encoder of the 2B checkpoints", use="companion",
        repo="ACE-Step/Ace-Step1.5", files=COMPANION, bytes=1_550_000_000,
        parameters=TEXT_ENCODER_BILLIONS + VAE_BILLIONS, licence="MIT",
    ),
    _language("lm-0.6b", "5 Hz planner 0.6B", "planner", "ACE-Step/acestep-5Hz-lm-0.6B", (1.37, 0.663), "MIT"),
    _language(
        "lm-1.7b", "5 Hz planner 1.7B", "planner", "ACE-Step/Ace-Step1.5", (3.76, 1.854), "MIT",
        folder="acestep-5Hz-lm-1.7B",
    ),
    _language("lm-4b", "5 Hz planner 4B", "planner", "ACE-Step/acestep-5Hz-lm-4B", (8.43, 4.190), "MIT"),
    _language("qwen-7b", "Qwen 2.5 7B Instruct", "lyrics", "Qwen/Qwen2.5-7B-Instruct", (15.2, 7.6), "Apache-2.0"),
    _language("qwen-3b", "Qwen 2.5 3B Instruct", "lyrics", "Qwen/Qwen2.5-3B-Instruct", (6.2, 3.1), "Qwen Research"),
    _language("qwen-1.5b", "Qwen 2.5 1.5B Instruct", "lyrics", "Qwen/Qwen2.5-1.5B-Instruct", (3.1, 1.55), "Apache-2.0"),
    Checkpoint(
        name="htdemucs", title="Hybrid Transformer Demucs", use="stems", repo="adefossez/HTDemucs",
        revision="bf35a81b663819a8255c8fefee17f9d812b786b5", files=(_HTDEMUCS.path,),
        other_files=(_HTDEMUCS_PICKLE.path,), pinned=(_HTDEMUCS, _HTDEMUCS_PICKLE), bytes=_HTDEMUCS.bytes,
        parameters=0.042, licence="MIT", dtype="float32",
    ),
    _musicgen("musicgen-small", "MusicGen small", (0.587, 0.420), 0.3),
    _musicgen("musicgen-medium", "MusicGen medium", (2.005, 1.838), 0.9),
    _musicgen("musicgen-large", "MusicGen large", (3.423, 3.255), 1.2),
    _musicgen("musicgen-melody", "MusicGen melody", (1.552, 1.384), 1.1, melody=True),
    _musicgen("musicgen-melody-large", "MusicGen melody large", (2.618, 2.450), 1.4, melody=True),
    _musicgen("musicgen-stereo-small", "MusicGen stereo small", (0.604, 0.436), 0.3),
    _musicgen("musicgen-stereo-medium", "MusicGen stereo medium", (2.030, 1.863), 0.9),
    _musicgen("musicgen-stereo-large", "MusicGen stereo large", (3.457, 3.289), 1.2),
    _musicgen("musicgen-stereo-melody", "MusicGen stereo melody", (1.577, 1.410), 1.1, melody=True),
    _musicgen("musicgen-stereo-melody-large", "MusicGen stereo melody large", (2.652, 2.483), 1.4, melody=True),
)  # fmt: skip

CHECKPOINTS: Mapping[str, Checkpoint] = MappingProxyType({row.name: row for row in _ROWS})
PREFERRED = (
    *("xl-sft", "xl-turbo", "xl-base", "2b-sft", "2b-turbo", "2b-base", "nano"),
    *(name for name in CHECKPOINTS if name.startswith("musicgen-")),
)
"""Song checkpoints in the order in which the studio takes the first that is installed: nano always is, so that those
after it are taken by their names alone."""

PLANNERS = ("lm-4b", "lm-1.7b", "lm-0.6b")
"""Planners, the best first."""

SEPARATOR = "htdemucs"
"""What takes a mix apart."""

ON_SPACES = ("xl-sft",)
"""What a hosted Space brings along when it is built: `preload_from_hub` in README.md."""


def completed(files: tuple[str, ...], has: Callable[[str], bool]) -> tuple[str, ...]:
    """The patterns of a layout, and those that are free to it if there is anything of them: begun, they are needed."""
    return (*files, *CODES) if files == DIFFUSERS_SONG and any(map(has, CODES)) else files


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
    return replace(recipe, muted={**recipe.muted, "preview": _NO_PREVIEW}) if ON_ZERO_GPU else recipe
