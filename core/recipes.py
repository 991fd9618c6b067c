"""How weights want to be run, and what they cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from core.dcw import DcwMode, Wavelet
from core.knobs import Value
from core.modes import ChunkMask, Structure, Task
from core.params import GuidanceRule, Schedule
from core.solvers import first_of
from core.tables import DURATION_S, LONGEST_S, Mode


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a checkpoint wants to be run, and what it cannot do.

    `fixed` are the values that muted knobs have in effect, which may be given as well. `unsung` says why the words of
    lyrics are not sung; None where they are. `task_of_latents` is the instruction under which the checkpoint accepts
    raw latents as its structure; `muted` maps a knob's name to the reason why it means nothing here: such a knob is
    disabled in the page and refused when it is set by name. `unable` are the song modes that it does not serve, with
    the reason. `engine` is the family of models that renders. `song_s` bounds a new song and `cover_s` the source
    of a cover, in seconds. `temperature` and `top_k` say how tokens are drawn, where a song is made of them:
    `tokens_hz` steps a second, for each of which `token_billions` of parameters pass by. `cache_gb` is the memory that
    a variation takes meanwhile. `tracks` are named in the instruction of `task_of_latents`. `min_frames` is the
    shortest song, in latent frames, that it was trained on. `dit_tflop` and `vae_tflop` are the arithmetic of one
    forward pass for a second of audio: the estimate of the time a job takes.
    """

    inference_steps: int
    guidance_scale: float
    shift: float
    solver: str = first_of("ode").name
    schedule: Schedule = "linear"
    guidance_rule: GuidanceRule = "apg"
    dcw_enabled: bool = False
    dcw_mode: DcwMode = "double"
    dcw_scaler: float = 0.05
    dcw_high_scaler: float = 0.02
    dcw_wavelet: Wavelet = "haar"
    chunk_mask: ChunkMask = "explicit"
    structure: Structure = "codes"
    task_of_latents: Task = "cover"
    engine: Literal["acestep", "musicgen"] = "acestep"
    planner: Literal["composer", "lm", "none"] = "lm"
    tracks: tuple[str, ...] = ()
    min_frames: int = 0
    dit_tflop: float = 0.105
    vae_tflop: float = 0.122
    song_s: tuple[float, float] = DURATION_S
    cover_s: tuple[float, float] = (0, LONGEST_S)
    temperature: float | None = None
    top_k: int | None = None
    tokens_hz: float = 0.0
    token_billions: float = 0.0
    cache_gb: float = 0.0
    unable: Mapping[Mode, str] = field(default_factory=dict)
    unsung: str | None = None
    muted: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Value] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, object]:
        """The fields, tables as plain dicts: a job takes its recipe into the leased process, where no view can go."""
        return {**vars(self), "muted": dict(self.muted), "fixed": dict(self.fixed), "unable": dict(self.unable)}


@dataclass(frozen=True, kw_only=True)
class WriterRecipe:
    """What a lyric writer cannot do, as `Recipe` tells it of a checkpoint that renders songs.

    `muted` maps a knob's name to the reason why it means nothing to this writer; `fixed` are the values that such
    knobs have in effect. `writer` is its name.
    """

    writer: str
    muted: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Value] = field(default_factory=dict)
