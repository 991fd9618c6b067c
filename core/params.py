"""The spine: the knobs and requests of the modes.

Whatever shows, checks, sends, saves or documents a knob derives from the tables here. Requests that make no song are
in lyrics.py and drafts.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal

from core.adapters import AdapterChoice, read_choices
from core.dcw import SHAPING, DcwMode, Wavelet, idle_beside
from core.errors import Fault
from core.knobs import Knob, knob, knobs_of, set_in_vain
from core.lyrics import LyricsRequest
from core.modes import ChunkMask, Cover, Layout, Morph, RepaintMode, Seam, Structure, TrackTask
from core.music import KNOBS, NO_LANGUAGE, NO_WORDS, Music
from core.plan_text import PlanText, read_plan
from core.segments import APART_S, Segment, crowded, read_segments, written
from core.solvers import SOLVERS, InferMethod
from core.tables import (
    BPM,
    DEFAULT_DURATION_S,
    KEYSCALES,
    LANGUAGES,
    LYRICS_CHARS,
    MAX_SEED,
    PLAN_CHARS,
    PROMPT_CHARS,
    SONG_S,
    Mode,
    TimeSignature,
)

GuidanceRule = Literal["apg", "cfg"]
Schedule = Literal["linear", "linear_quadratic"]
CoverTask = Literal["cover", "lego", "extract", "complete"]
Side = Literal["after", "before"]
EditMode = Literal["repaint", "flow"]

TRACKS = (
    *("vocals", "backing_vocals", "drums", "bass", "guitar", "keyboard"),
    *("percussion", "strings", "synth", "fx", "brass", "woodwinds"),
)
"""The instruments that ACE-Step's base checkpoints know by name."""

GUIDED = ("guidance_rule", "use_adg", "cfg_interval_start", "cfg_interval_end")
"""Knobs that shape guidance: where there is none they mean nothing."""


TOKENS = ("temperature", "top_k")
"""Knobs that say how tokens of sound are drawn: where a song is denoised they mean nothing."""

UNHEARD = ("preview",)
"""Knobs that change nothing about the song: with them and without it is the same to the sample."""


@dataclass(frozen=True, kw_only=True)
class MusicKnobs:
    """The words and the musical facts of a song."""

    prompt: str = knob("", group="main", high=PROMPT_CHARS, lines=3)
    lyrics: str = knob("", group="main", high=LYRICS_CHARS, lines=8)
    bpm: int | None = knob(group="music", low=BPM[0], high=BPM[1], step=1, unit="beats per minute")
    keyscale: str | None = knob(group="music", choices=KEYSCALES)
    timesignature: TimeSignature | None = knob(group="music")
    vocal_language: str | None = knob(group="music", choices=LANGUAGES)

    @property
    def music(self) -> Music:
        """The facts that these knobs say."""
        return Music.of(self)


@dataclass(frozen=True, kw_only=True)
class PlannerKnobs:
    """How the 5 Hz planner, a language model, chooses its words: shared by whatever asks it something.

    `planner` names its checkpoint; None takes the best that is installed.
    """

    planner: str | None = knob(group="planner", high=80)
    lm_temperature: float = knob(0.85, group="planner", low=0, high=2, step=0.05)
    lm_top_p: float = knob(0.9, group="planner", low=0.01, high=1, step=0.01)
    lm_top_k: int = knob(0, group="planner", low=0, high=1000, step=1)
    lm_repetition_penalty: float = knob(1.0, group="planner", low=1, high=2, step=0.05)


LM_KNOBS = (
    *("planner", "lm_temperature", "lm_top_p", "lm_top_k", "lm_repetition_penalty", "lm_cfg_scale"),
    *("lm_negative_prompt", "lm_closed_turn", "use_cot_metas", "use_cot_caption", "use_cot_language"),
)
"""Knobs that mean something to a planner that is a language model, and to no other."""


@dataclass(frozen=True, kw_only=True)
class PlanKnobs(PlannerKnobs):
    """How a new song is planned: by a language model, by hand, or in part."""

    thinking: bool = knob(True, group="plan")
    use_cot_metas: bool = knob(True, group="planner")
    use_cot_caption: bool = knob(True, group="planner")
    use_cot_language: bool = knob(True, group="planner")
    lm_cfg_scale: float = knob(2.0, group="planner", low=1, high=10, step=0.1)
    lm_negative_prompt: str = knob("", group="planner", high=PROMPT_CHARS, lines=2)
    lm_closed_turn: bool = knob(False, group="planner")
    plan: str = knob("", group="plan", high=PLAN_CHARS, lines=4)

    @cached_property
    def own_plan(self) -> PlanText:
        """What the plan that was typed or edited says. Raises ValueError with the rule that it breaks."""
        return read_plan(self.plan)

    def unread(self) -> Iterator[Fault]:
        """The fault of a plan that cannot be read."""
        try:
            _ = self.own_plan
        except ValueError as broken:
            yield Fault("plan", self.plan, str(broken))

    def unasked(self) -> dict[str, str]:
        """Knobs that mean nothing because the planner is not asked, or not so, with the reason."""
        if any(self.unread()):
            return {}
        if self.own_plan.codes is not None:
            return dict.fromkeys(LM_KNOBS, "means nothing beside a plan that holds the codes")
        if not self.thinking:
            return dict.fromkeys(LM_KNOBS, "needs thinking")
        idle = {}
        if not self.use_cot_metas:
            idle = dict.fromkeys(("use_cot_caption", "use_cot_language"), "needs use_cot_metas")
        elif self.own_plan.music.caption:
            idle["use_cot_caption"] = "means nothing beside a plan that holds the caption"
        if self.lm_cfg_scale == 1:
            idle["lm_negative_prompt"] = "needs an lm_cfg_scale above 1"
        if self.lm_temperature == 0:
            idle |= dict.fromkeys(("lm_top_p", "lm_top_k"), "needs an lm_temperature above 0")
        return idle


@dataclass(frozen=True, kw_only=True)
class TokenChoice:
    """How a token of sound is drawn, where a request leaves it open as None; `temperature` 0 takes the likeliest."""

    temperature: float | None = None
    top_k: int | None = None


@dataclass(frozen=True, kw_only=True)
class SongRequest(MusicKnobs):
    """What every song mode asks for."""

    mode: ClassVar[Mode]
    needs_words: ClassVar[bool] = False
    required: ClassVar[tuple[str, ...]] = ()

    checkpoint: str | None = knob(group="diffusion", high=80)
    seed: int | None = knob(group="main", low=0, high=MAX_SEED, step=1)
    inference_steps: int | None = knob(group="diffusion", low=1, high=200, step=1)
    guidance_scale: float | None = knob(group="diffusion", low=1, high=30, step=0.1)
    infer_method: InferMethod | None = knob(group="diffusion")
    solver: str | None = knob(group="diffusion", choices=tuple(SOLVERS))
    chunk_mask: ChunkMask | None = knob(group="diffusion")
    retake_variance: float = knob(0.0, group="diffusion", low=0, high=1, step=0.05)
    retake_seed: int | None = knob(group="diffusion", low=0, high=MAX_SEED, step=1)
    variations: int = knob(1, group="main", low=1, high=4, step=1)
    preview: bool = knob(False, group="diffusion")
    cfg_interval_start: float = knob(0.0, group="schedule", low=0, high=1, step=0.05)
    cfg_interval_end: float = knob(1.0, group="schedule", low=0, high=1, step=0.05)
    guidance_rule: GuidanceRule | None = knob(group="schedule")
    use_adg: bool = knob(False, group="schedule")
    shift: float | None = knob(group="schedule", low=0.1, high=10, step=0.1)
    schedule: Schedule | None = knob(group="schedule")
    timesteps: str = knob("", group="schedule", high=2000)
    dcw_enabled: bool | None = knob(group="correction")
    dcw_mode: DcwMode | None = knob(group="correction")
    dcw_scaler: float | None = knob(group="correction", low=0, high=1, step=0.01)
    dcw_high_scaler: float | None = knob(group="correction", low=0, high=1, step=0.01)
    dcw_wavelet: Wavelet | None = knob(group="correction")
    adapters: str = knob("", group="adapters", high=4000, lines=2)

    @property
    def layout(self) -> Layout:
        """Which parts of the song are new."""
        return Layout()

    @property
    def from_source(self) -> bool:
        """Whether the song is made from a recording, whose length it takes."""
        return "src_audio" in self.required

    @property
    def cover(self) -> Cover | None:
        """What is kept of the source, where its structure is what counts."""
        return None

    @property
    def track_task(self) -> TrackTask | None:
        """The single instruments to be made, if that is the task."""
        return None

    @property
    def seam(self) -> Seam | None:
        """How new and old meet, where the source stays around what is new."""
        return None

    @property
    def morph(self) -> Morph | None:
        """How the source becomes another, where it does not begin anew from noise."""
        return None

    @property
    def tokens(self) -> TokenChoice:
        """How its tokens are drawn, where the checkpoint makes a song of tokens."""
        return TokenChoice()

    @property
    def own_plan(self) -> PlanText:
        """The plan that the request brings along."""
        return PlanText()

    @property
    def thinks(self) -> bool | None:
        """Whether a language model is to plan the song; None where there is none that could."""
        return None

    @property
    def planned(self) -> bool:
        """Whether a planner has anything to decide."""
        return True

    @property
    def wordless(self) -> bool:
        """Whether nothing is sung."""
        return not self.lyrics.strip()

    @property
    def music(self) -> Music:
        """The facts that the request says; that nothing is sung is a fact too."""
        return self._with_silence(super().music)

    def _with_silence(self, music: Music) -> Music:
        return dataclasses.replace(music, lyrics=NO_WORDS, language=NO_LANGUAGE) if self.wordless else music

    def idle(self) -> dict[str, str]:
        """Knobs that mean nothing beside the other values, with the reason: they must rest at their default."""
        idle = idle_beside(self.dcw_enabled, self.dcw_mode)
        if self.timesteps.strip():
            idle |= dict.fromkeys(("inference_steps", "shift", "schedule"), "is replaced by timesteps")
        if self.use_adg:
            idle["guidance_rule"] = "must be empty while use_adg chooses the rule"
        if self.retake_variance == 0:
            idle["retake_seed"] = "needs a retake_variance above 0"
        return idle

    def combinations(self) -> Iterator[Fault]:
        """Faults that only several values together can have."""
        if self.needs_words and not (self.prompt.strip() or self.lyrics.strip()):
            yield Fault("prompt", self.prompt, "must not be empty when the lyrics are empty too")
        for name in self.required:
            if getattr(self, name) is None:
                yield Fault(name, None, "must be given: an audio file")
        if self.cfg_interval_start > self.cfg_interval_end:
            yield Fault("cfg_interval_end", self.cfg_interval_end, "must not lie before cfg_interval_start")
        if self.infer_method and self.solver and self.infer_method != SOLVERS[self.solver].method:
            yield Fault("solver", self.solver, f"does not go with infer_method {self.infer_method}")
        yield from set_in_vain(self, self.idle())
        try:
            self.custom_timesteps()
        except ValueError as broken:
            yield Fault("timesteps", self.timesteps, str(broken))
        try:
            self.adapter_choices()
        except ValueError as broken:
            yield Fault("adapters", self.adapters, str(broken))

    def adapter_choices(self) -> tuple[AdapterChoice, ...]:
        """The adapters by name and weight. Raises ValueError with the rule when they do not parse."""
        return read_choices(self.adapters)

    def custom_timesteps(self) -> tuple[float, ...]:
        """The noise levels typed by the user, falling within (0, 1], without a final 0; empty when none are given.

        Raises ValueError with the rule when they do not parse or do not fall.
        """
        rule = "must be falling numbers from 1 to 0, separated by commas"
        try:
            levels = [float(part) for part in self.timesteps.replace(",", " ").split()]
        except ValueError:
            raise ValueError(rule) from None
        if levels and levels[-1] == 0:
            levels.pop()
        falling = all(a > b for a, b in pairwise(levels))
        if not falling or any(not 0 < level <= 1 for level in levels) or (self.timesteps.strip() and not levels):
            raise ValueError(rule)
        return tuple(levels)


@dataclass(frozen=True, kw_only=True)
class DrawnRequest(SongRequest):
    """A song that may be denoised or drawn token by token, as its checkpoint does it."""

    temperature: float | None = knob(group="diffusion", low=0, high=2, step=0.05)
    top_k: int | None = knob(group="diffusion", low=0, high=1000, step=1)

    @property
    def tokens(self) -> TokenChoice:
        """How its tokens are drawn."""
        return TokenChoice(temperature=self.temperature, top_k=self.top_k)


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(PlanKnobs, DrawnRequest):
    """A new song from words."""

    mode: ClassVar[Mode] = "generate"
    needs_words: ClassVar[bool] = True

    duration_s: float | None = knob(
        DEFAULT_DURATION_S, group="main", low=SONG_S[0], high=SONG_S[1], step=1, unit="seconds"
    )
    instrumental: bool = knob(False, group="main")

    @property
    def thinks(self) -> bool:
        """Whether a language model is to plan the song."""
        return self.thinking

    @property
    def planned(self) -> bool:
        """Whether a planner has anything to decide: not when it is switched off, or the plan is there already."""
        return self.thinking and self.own_plan.codes is None

    @property
    def wordless(self) -> bool:
        """Whether nothing is sung."""
        return self.instrumental or not self.lyrics.strip()

    @property
    def music(self) -> Music:
        """The facts that its plan says, then those of its own; that nothing is sung is a fact too."""
        return self._with_silence(self.own_plan.music.over(Music.of(self)))

    def idle(self) -> dict[str, str]:
        """Knobs that mean nothing beside the other values, those of a planner that is not asked among them."""
        idle = super().idle() | self.unasked()
        if any(self.unread()) or not self.planned:
            return idle
        music = self.music
        if music.bpm and music.keyscale and music.timesignature and music.duration_s:
            cot = ("use_cot_metas", "use_cot_caption", "use_cot_language")
            idle |= dict.fromkeys(cot, "means nothing when tempo, key, metre and length are given")
        elif music.language:
            idle["use_cot_language"] = "means nothing when the language is known"
        return idle

    def combinations(self) -> Iterator[Fault]:
        """Faults that only several values together can have, those of a plan among them."""
        yield from super().combinations()
        if unread := list(self.unread()):
            yield from unread
            return
        defaults = {knob.name: knob.default for knob in knobs_of(type(self))}
        for fact, value in self.own_plan.music.facts().items():
            own = getattr(self, KNOBS[fact])
            if fact != "caption" and own not in (None, defaults[KNOBS[fact]], value):
                yield Fault(KNOBS[fact], own, f"must be empty beside a plan that says {value}")


@dataclass(frozen=True, kw_only=True)
class PlanRequest(GenerateRequest):
    """The plan of a song that is not made."""


@dataclass(frozen=True, kw_only=True)
class CoverRequest(DrawnRequest):
    """The structure of one recording in a new style."""

    mode: ClassVar[Mode] = "cover"
    required: ClassVar[tuple[str, ...]] = ("src_audio",)

    src_audio: Path | None = knob(group="main")
    reference_audio: Path | None = knob(group="main")
    audio_cover_strength: float = knob(0.93, group="main", low=0, high=1, step=0.01)
    cover_noise_strength: float = knob(0.0, group="main", low=0, high=1, step=0.01)
    cover_structure: Structure | None = knob(group="diffusion")
    task_type: CoverTask = knob("cover", group="tracks")
    tracks: str = knob("", group="tracks", high=200)

    @property
    def cover(self) -> Cover | None:
        """What is kept of the source, unless single instruments are asked for."""
        if self.task_type != "cover":
            return None
        return Cover(steps=self.audio_cover_strength, noise=self.cover_noise_strength, structure=self.cover_structure)

    @property
    def track_task(self) -> TrackTask | None:
        """The single instruments to be made, if that is the task."""
        return None if self.task_type == "cover" else TrackTask(task=self.task_type, names=self.track_names())

    def track_names(self) -> tuple[str, ...]:
        """The tracks typed by the user, lower-case, in order."""
        return tuple(name.strip().lower().replace(" ", "_") for name in self.tracks.split(",") if name.strip())

    def idle(self) -> dict[str, str]:
        """Knobs that mean nothing beside the other values, with the reason."""
        if self.task_type == "cover":
            return super().idle()
        names = ("audio_cover_strength", "cover_noise_strength", "cover_structure")
        return super().idle() | dict.fromkeys(names, "belongs to the task_type cover")

    def combinations(self) -> Iterator[Fault]:
        """Faults that only several values together can have, those of the tracks among them."""
        yield from super().combinations()
        names = self.track_names()
        if unknown := [name for name in names if name not in TRACKS]:
            yield Fault("tracks", ", ".join(unknown), f"must name tracks, separated by commas: {', '.join(TRACKS)}")
        elif (self.task_type == "cover") == bool(names):
            rule = "belongs to another task_type than cover" if names else f"must name the tracks to {self.task_type}"
            yield Fault("tracks", self.tracks, rule)
        elif self.task_type in ("lego", "extract") and len(names) > 1:
            yield Fault("tracks", self.tracks, f"must name one track to {self.task_type}")

    @property
    def planned(self) -> bool:
        """Whether a planner has anything to decide: the source is the plan."""
        return False


@dataclass(frozen=True, kw_only=True)
class ExtendRequest(DrawnRequest):
    """More of a recording, after its end or before its start."""

    mode: ClassVar[Mode] = "extend"
    required: ClassVar[tuple[str, ...]] = ("src_audio",)

    src_audio: Path | None = knob(group="main")
    extra_duration_s: float = knob(60.0, group="main", low=5, high=120, step=1, unit="seconds")
    side: Side = knob("after", group="main")
    overlap_s: float = knob(2.0, group="region", low=0, high=5, step=0.1, unit="seconds")
    crossfade_s: float = knob(0.25, group="region", low=0.01, high=1, step=0.01, unit="seconds")

    @property
    def layout(self) -> Layout:
        """Something new on one side of the source."""
        before = self.side == "before"
        return Layout(
            before_s=self.extra_duration_s if before else 0.0,
            after_s=0.0 if before else self.extra_duration_s,
            overlap_s=self.overlap_s,
        )

    @property
    def seam(self) -> Seam:
        """The source held on to, and a crossfade of the length that is asked for."""
        return Seam(repaint_mode="conservative", crossfade_s=self.crossfade_s)


@dataclass(frozen=True, kw_only=True)
class EditRequest(SongRequest):
    """A recording with one segment of it made anew, or several at once."""

    mode: ClassVar[Mode] = "edit"
    required: ClassVar[tuple[str, ...]] = ("src_audio",)

    src_audio: Path | None = knob(group="main")
    segment_start_s: float = knob(0.0, group="main", low=0, high=3600, step=0.01, unit="seconds")
    segment_end_s: float = knob(10.0, group="main", low=0, high=3600, step=0.01, unit="seconds")
    edit_mode: EditMode = knob("repaint", group="main")
    repaint_mode: RepaintMode = knob("balanced", group="region")
    repaint_strength: float = knob(0.5, group="region", low=0, high=1, step=0.05)
    source_prompt: str = knob("", group="region", high=PROMPT_CHARS, lines=2)
    source_lyrics: str = knob("", group="region", high=LYRICS_CHARS, lines=4)
    n_min: float = knob(0.0, group="region", low=0, high=1, step=0.05)
    n_max: float = knob(1.0, group="region", low=0, high=1, step=0.05)
    n_avg: int = knob(1, group="region", low=1, high=8, step=1)
    more_segments: str = knob("", group="main", high=600)

    @property
    def layout(self) -> Layout:
        """A new segment, and those beside it."""
        return Layout(segment_s=self._first_segment, more_s=read_segments(self.more_segments))

    @property
    def _first_segment(self) -> Segment:
        return self.segment_start_s, self.segment_end_s

    @property
    def seam(self) -> Seam:
        """The seam of the repaint mode, for a flow edit too."""
        return Seam(repaint_mode=self.repaint_mode, strength=self.repaint_strength)

    @property
    def morph(self) -> Morph | None:
        """The way of a flow edit, if it is one."""
        if self.edit_mode != "flow":
            return None
        source = Music(caption=self.source_prompt.strip(), lyrics=self.source_lyrics.strip() or NO_WORDS)
        return Morph(source=source, n_min=self.n_min, n_max=self.n_max, n_avg=self.n_avg)

    @property
    def planned(self) -> bool:
        """Whether a planner has anything to decide: a flow edit keeps the notes that are there."""
        return self.morph is None

    def idle(self) -> dict[str, str]:
        """Knobs that mean nothing beside the other values, with the reason."""
        idle = super().idle()
        if self.morph is not None:
            names = ("infer_method", "solver", "retake_variance", "retake_seed", "dcw_enabled", *SHAPING)
            idle |= dict.fromkeys(names, "means nothing to a flow edit, which denoises in its own way")
        else:
            only = ("source_prompt", "source_lyrics", "n_min", "n_max", "n_avg")
            idle |= dict.fromkeys(only, "belongs to the edit_mode flow")
        if self.repaint_mode != "balanced":
            idle["repaint_strength"] = "belongs to the repaint_mode balanced"
        return idle

    def combinations(self) -> Iterator[Fault]:
        """Faults that only several values together can have, those of the region and the morph among them."""
        yield from super().combinations()
        if self.segment_end_s <= self.segment_start_s:
            yield Fault("segment_end_s", self.segment_end_s, "must lie after segment_start_s")
        else:
            yield from self._more_faults()
        if self.n_max <= self.n_min:
            yield Fault("n_max", self.n_max, "must be larger than n_min")
        if self.morph is not None and not (self.prompt.strip() or self.lyrics.strip()):
            yield Fault("prompt", self.prompt, "must say what the stretch becomes")

    def _more_faults(self) -> Iterator[Fault]:
        """The fault of further segments that cannot be read, or that crowd each other or the first."""
        try:
            close = crowded([self._first_segment, *read_segments(self.more_segments)])
        except ValueError as broken:
            yield Fault("more_segments", self.more_segments, str(broken))
            return
        if close is not None:
            names = " and ".join(map(written, close))
            rule = f"must lie at least {APART_S:g} seconds apart from each other and from the first: {names} do not"
            yield Fault("more_segments", self.more_segments, rule)


ModeRequest = GenerateRequest | CoverRequest | ExtendRequest | EditRequest | LyricsRequest

MODES: Mapping[Mode, type[ModeRequest]] = MappingProxyType(
    {cls.mode: cls for cls in (GenerateRequest, CoverRequest, ExtendRequest, EditRequest, LyricsRequest)}
)
"""What the user picks, in the order of the sidebar."""

SONG_MODES: Mapping[Mode, type[SongRequest]] = MappingProxyType(
    {mode: cls for mode, cls in MODES.items() if issubclass(cls, SongRequest)}
)


def audio_knobs(request_class: type) -> tuple[Knob, ...]:
    """The knobs of a request that hold files."""
    return tuple(knob for knob in knobs_of(request_class) if knob.kind == "audio")
