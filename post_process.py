"""The actions on a song that exists, one row each: what they need, whom they serve, and what they make."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from checkpoints import table
from core.actions import ActionRequest, ExportRequest, LrcRequest, NormaliseRequest, NotesRequest, StemsRequest
from core.events import Progress
from core.files import write_whole
from core.knobs import Json, knobs_of
from core.tables import SAMPLE_RATE
from library import audio, exports, loudness
from library.cover import cover_of
from library.tags import Tags
from library.tracks import Track

if TYPE_CHECKING:
    from networks.acestep.runtime import Runtime
    from networks.demucs.separator import Separator
    from planner.composer.score import Score

STEMS_SEED = 0
"""Of the shifts: the same song gives the same stems."""

STEMS_TFLOP = 0.075
"""Of one pass over a second of sound without overlap: Demucs tells one and a half times a song's length on a CPU."""

NO_TRACK = "must be a song of the library: of a recording nobody knows that"
NO_WORDS = "must be a song with lyrics"
NOT_COMPOSED = "must be a song that nano composed: of others nobody knows the notes"


@dataclass(frozen=True, kw_only=True)
class Song:
    """What an action works on: a recording of so many seconds, and the track that it is where it is one."""

    path: Path
    sha256: str
    seconds: float
    track: Track | None

    @property
    def title(self) -> str:
        """By what a listener knows it."""
        return self.track.title if self.track else self.path.stem

    def file_name(self, suffix: str, part: str = "") -> str:
        """A readable name for a file of the song, or of a part of it."""
        ending = f"_{part}{suffix}" if part else suffix
        return exports.file_name(self.title, self.track.seed if self.track else None, ending)

    def tags(self, part: str = "") -> Tags:
        """What a file of the song, or of a part of it, says about it."""
        title = f"{self.title} ({part})" if part else self.title
        track = self.track
        if track is None:
            return Tags(title=title)
        facts = {**track.values, **{name: value for name, value in track.plan.items() if value is not None}}
        bpm = facts.get("bpm")
        return Tags(
            title=title,
            prompt=str(track.values.get("prompt") or ""),
            lyrics=str(track.values.get("lyrics") or ""),
            seed=track.seed,
            tempo_bpm=float(bpm) if isinstance(bpm, int | float) else None,
            key=str(facts.get("keyscale") or ""),
            checkpoint=track.checkpoint,
            licence=_licence(track.checkpoint),
            date=f"{track.created:%Y-%m-%d}",
        )


def _licence(checkpoint: str) -> str:
    row = table.CHECKPOINTS.get(checkpoint)
    return f"weights: {row.licence}" if row else ""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What came of an action: the names of its files in order, what there is to know, and what did not go as asked."""

    names: Sequence[str]
    facts: Mapping[str, Json] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Networks(Protocol):
    """The loaded networks that actions work with."""

    @property
    def song(self) -> Runtime:
        """A song's networks."""
        ...

    @property
    def separator(self) -> Separator:
        """The network that takes a mix apart."""
        ...


@dataclass(frozen=True, kw_only=True)
class Action:
    """How a request becomes files.

    `make` writes into a folder and yields progress, then one Made. `refusal` says why a song cannot be served; None
    where it can. `weights` names the checkpoint that must be loaded for a song, None where none must. `tflop` is what
    it computes for each second of the song.
    """

    make: Callable[[ActionRequest, Song, Path, Networks], Iterator[Progress | Made]]
    refusal: Callable[[Track | None], str | None] = lambda track: None
    weights: Callable[[Track | None], str | None] = lambda track: None
    tflop: Callable[[ActionRequest], float] = lambda request: 0.0


def _stems(asked: ActionRequest, song: Song, folder: Path, networks: Networks) -> Iterator[Progress | Made]:
    """A wav of each part, as floats that nothing clips, and a zip of them all."""
    request, separator, names = cast(StemsRequest, asked), networks.separator, list[str]()
    whole = audio.load(song.path)
    for event in separator.separate(whole, shifts=request.shifts, overlap=request.overlap, seed=STEMS_SEED):
        if isinstance(event, Progress):
            yield event
            continue
        names.append(song.file_name(".wav", event.name))
        exports.write(folder / names[-1], event.audio, exports.FORMATS["wav32f"], song.tags(event.name))
    yield Progress("writing", note="packing the stems")
    packed = song.file_name(".zip", "stems")
    with zipfile.ZipFile(folder / packed, "w", zipfile.ZIP_STORED) as archive:  # sound hardly gets smaller
        for name in names:
            archive.write(folder / name, name)
    yield Made(names=[*names, packed], notes=(separator.note,) if separator.note else ())


def _stems_tflop(asked: ActionRequest) -> float:
    request = cast(StemsRequest, asked)
    return STEMS_TFLOP * max(request.shifts, 1) / (1 - request.overlap)


def _normalise(asked: ActionRequest, song: Song, folder: Path, networks: Networks) -> Iterator[Progress | Made]:
    """A wav at a loudness."""
    request = cast(NormaliseRequest, asked)
    yield Progress("measuring")
    louder, done = loudness.normalise(audio.load(song.path), request.lufs, request.ceiling_db)
    name = song.file_name(".wav", f"{request.lufs:g}lufs")
    yield Progress("writing")
    exports.write(folder / name, louder, exports.FORMATS["wav24"], song.tags())
    yield Made(names=[name], facts=_loudness_facts(done), notes=done.notes)


def _loudness_facts(done: loudness.Normalisation) -> dict[str, Json]:
    """What was measured and done, in round numbers."""
    return {
        "lufs_before": round(done.before.lufs, 2),
        "lufs": round(done.after.lufs, 2),
        "true_peak_db": round(done.after.true_peak_db, 2),
        "gain_db": round(done.gain_db, 2),
        "reduction_db": round(done.reduction_db, 2),
    }


def _export(asked: ActionRequest, song: Song, folder: Path, networks: Networks) -> Iterator[Progress | Made]:
    """A tagged file with a cover."""
    request, facts, notes = cast(ExportRequest, asked), dict[str, Json](), tuple[str, ...]()
    sound = exports.trimmed(
        audio.load(song.path), request.start_s, request.end_s, request.fade_in_s, request.fade_out_s
    )
    if request.lufs is not None:
        yield Progress("measuring")
        sound, done = loudness.normalise(sound, request.lufs, _usual_ceiling_db())
        facts, notes = _loudness_facts(done), done.notes
    kind = exports.FORMATS[request.format]
    name = song.file_name(kind.suffix)
    cover = cover_of(sound, song.track.seed if song.track else 0)
    for share in exports.writing(folder / name, sound, kind, song.tags(), cover):
        yield Progress("writing", step=round(100 * share), total=100)
    facts |= {"format": kind.title, "seconds": round(sound.shape[1] / SAMPLE_RATE, 3)}
    yield Made(names=[name], facts=facts, notes=notes)


def _usual_ceiling_db() -> float:
    """The true peak under which an export is brought to its loudness."""
    (knob,) = (knob for knob in knobs_of(NormaliseRequest) if knob.name == "ceiling_db")
    return cast(float, knob.default)


def _notes(asked: ActionRequest, song: Song, folder: Path, networks: Networks) -> Iterator[Progress | Made]:
    """A MIDI file of what the composer wrote."""
    from planner.composer.midi import to_midi

    yield Progress("writing")
    assert song.track is not None
    score, start_s = score_of(song.track)
    name = song.file_name(".mid")
    write_whole(folder / name, to_midi(score, start_s=start_s, title=song.title))
    yield Made(names=[name], facts={"score": score.summary()})


def score_of(track: Track) -> tuple[Score, float]:
    """The score that a track was rendered from, and where in the song it begins, in seconds.

    Raises StudioError where this version's composer would write another one.
    """
    from core.knobs import parse
    from core.params import SONG_MODES
    from planner.composer.recall import recalled

    request = parse(SONG_MODES[track.mode], track.asked())
    start_s = track.window_start_s if track.window_end_s else 0.0
    return recalled(request, track.seed, track.plan, start_s), start_s


def _not_composed(track: Track | None) -> str | None:
    return None if track is not None and track.plan.get("score") else NOT_COMPOSED


def _lrc(asked: ActionRequest, song: Song, folder: Path, networks: Networks) -> Iterator[Progress | Made]:
    """A file of the words with their times."""
    from lyrics import synced

    yield Progress("writing")
    track = song.track
    assert track is not None
    notes: tuple[str, ...] = ()
    if _not_composed(track) is None:
        score, start_s = score_of(track)
        lines = [synced.Line(each.text, start_s + each.start_s, start_s + each.end_s) for each in score.lines]
        sections = [synced.Section(each.tag, start_s + each.start_s) for each in score.sections]
        how: synced.How = "score"
        notes = tuple(f"no room for: {text}" for text in score.unsung)
    else:
        found, marks = synced.estimated(str(track.values.get("lyrics") or ""), song.seconds)
        lines, sections, how = list(found), list(marks), "plan"
    name = song.file_name(".lrc")
    write_whole(folder / name, synced.to_lrc(lines, sections, song.title, how, song.seconds).encode())
    yield Made(names=[name], facts={"lines": len(lines), "times": synced.TOLD[how]}, notes=notes)


def _without_words(track: Track | None) -> str | None:
    if track is None:
        return NO_TRACK
    return None if str(track.values.get("lyrics") or "").strip() else NO_WORDS


ACTIONS: Mapping[type[ActionRequest], Action] = MappingProxyType(
    {
        StemsRequest: Action(make=_stems, weights=lambda track: table.SEPARATOR, tflop=_stems_tflop),
        NormaliseRequest: Action(make=_normalise),
        ExportRequest: Action(make=_export),
        NotesRequest: Action(make=_notes, refusal=_not_composed),
        LrcRequest: Action(make=_lrc, refusal=_without_words),
    }
)
