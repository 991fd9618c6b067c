"""The actions on a song that exists, one row each: what they need, whom they serve, and what they make."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from checkpoints import find, table
from core.actions import ActionRequest, ExportRequest, LrcRequest, NormaliseRequest, NotesRequest, StemsRequest
from core.errors import StudioError
from core.events import Progress
from core.files import write_whole
from core.knobs import Json, knobs_of, parse
from core.plans import Plan, plan_from
from core.steps import aside, telling
from core.tables import SAMPLE_RATE
from library import decoder, exports, loudness
from library.cover import cover_of
from library.records import Track
from library.tags import Tags
from lyrics import synced
from lyrics.line_counts import sections_of
from lyrics.synced import How, Line, Section

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from networks.acestep.alignment import LineTime
    from networks.acestep.job import Job
    from networks.acestep.runtime import Runtime
    from networks.demucs.separator import Separator
    from planner.composer.score import Score

STEMS_SEED = 0
"""Of the shifts: the same song gives the same stems."""

STEMS_TFLOP = 0.075
"""Of one pass over a second of sound without overlap: Demucs tells one and a half times a song's length on a CPU."""

LOOK_INSIDE_TFLOP = 0.1
"""Of one pass over a second of a song through the layers that tell where its words are: XL's, the largest there is."""

WAV24_BYTES, WAV32_BYTES = (2 * width * SAMPLE_RATE for width in (3, 4))
"""What a second of sound takes in a file."""

NO_TRACK = "must be a song of the library: of a recording nobody knows that"
NO_WORDS = "must be a song with lyrics"
NOT_COMPOSED = "must be a song that nano composed: of others nobody knows the notes"


@dataclass(frozen=True, kw_only=True)
class Song:
    """What an action works on: a recording of so many seconds, and the track that it is where it is one.

    For actions that look into how a track was made, `job` and `latents` are those that it was made by; `latents_fault`
    says why latents that are there are not used.
    """

    path: Path
    sha256: str
    seconds: float
    track: Track | None
    job: Job | None = None
    latents: NDArray[np.float16] | None = None
    latents_fault: str = ""

    @property
    def title(self) -> str:
        """By what a listener knows it."""
        return self.track.called if self.track else self.path.stem

    def file_name(self, suffix: str, part: str = "") -> str:
        """A readable name for a file of the song, or of a part of it."""
        ending = f"_{part}{suffix}" if part else suffix
        made = self.track is not None and self.track.asked_as is not None
        return exports.file_name(self.title, self.track.seed if self.track and made else None, ending)

    def tags(self, part: str = "") -> Tags:
        """What a file of the song, or of a part of it, says about it."""
        title = f"{self.title} ({part})" if part else self.title
        track = self.track
        if track is None or track.asked_as is None:
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
    it computes for each second of the song, `bytes_per_s` what it writes at the most.
    """

    make: Callable[[ActionRequest, Song, Path, Networks], Iterator[Progress | Made]]
    refusal: Callable[[Track | None], str | None] = lambda track: None
    weights: Callable[[Track | None], str | None] = lambda track: None
    tflop: Callable[[ActionRequest], float] = lambda request: 0.0
    bytes_per_s: int = WAV24_BYTES


def _stems(asked: ActionRequest, song: Song, folder: Path, networks: Networks) -> Iterator[Progress | Made]:
    """A wav of each part, as floats that nothing clips, and a zip of them all."""
    request, separator, names = cast(StemsRequest, asked), networks.separator, list[str]()
    whole = yield from _read(song)
    for event in separator.separate(whole, shifts=request.shifts, overlap=request.overlap, seed=STEMS_SEED):
        if isinstance(event, Progress):
            yield event
            continue
        names.append(song.file_name(".wav", event.name))
        yield from _written(folder / names[-1], event.audio, "wav32f", song.tags(event.name))
    packed = song.file_name(".zip", "stems")
    with zipfile.ZipFile(folder / packed, "w", zipfile.ZIP_STORED) as archive:  # sound hardly gets smaller
        for name in names:
            yield Progress("writing", note="packing the stems")
            archive.write(folder / name, name)
    yield Made(names=[*names, packed], notes=(separator.note,) if separator.note else ())


def _stems_tflop(asked: ActionRequest) -> float:
    request = cast(StemsRequest, asked)
    return STEMS_TFLOP * max(request.shifts, 1) / (1 - request.overlap)


def _normalise(asked: ActionRequest, song: Song, folder: Path, networks: Networks) -> Iterator[Progress | Made]:
    """A wav at a loudness."""
    request = cast(NormaliseRequest, asked)
    sound = yield from _read(song)
    louder, done = yield from telling(
        Progress("measuring"), loudness.normalising(sound, request.lufs, request.ceiling_db)
    )
    name = song.file_name(".wav", f"{request.lufs:g}lufs")
    yield from _written(folder / name, louder, "wav24", song.tags())
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
        (yield from _read(song)), request.start_s, request.end_s, request.fade_in_s, request.fade_out_s
    )
    if request.lufs is not None:
        measured = loudness.normalising(sound, request.lufs, _usual_ceiling_db())
        sound, done = yield from telling(Progress("measuring"), measured)
        facts, notes = _loudness_facts(done), done.notes
    kind = exports.FORMATS[request.format]
    name = song.file_name(kind.suffix)
    seed = song.track.seed if song.track else 0
    cover = yield from telling(Progress("writing", note="drawing the cover"), aside(partial(cover_of, sound, seed)))
    yield from _written(folder / name, sound, request.format, song.tags(), cover)
    facts |= {"format": kind.title, "seconds": round(sound.shape[1] / SAMPLE_RATE, 3)}
    yield Made(names=[name], facts=facts, notes=notes)


def _read(song: Song) -> Generator[Progress, None, NDArray[np.float32]]:
    """Progress; returns the sound of a song `(2, S)`."""
    told = Progress("listening", note="reading the song")
    yield told
    return (yield from telling(told, decoder.loading(song.path)))


def _written(
    path: Path, sound: NDArray[np.float32], kind: str, tags: Tags, cover: bytes | None = None
) -> Iterator[Progress]:
    """Progress while a file of that format is written."""
    for share in exports.writing(path, sound, exports.FORMATS[kind], tags, cover):
        yield Progress("writing", step=round(100 * share), total=100)


def _usual_ceiling_db() -> float:
    """The true peak under which an export is brought to its loudness."""
    (knob,) = (knob for knob in knobs_of(NormaliseRequest) if knob.name == "ceiling_db")
    return cast(float, knob.default)


def _notes(asked: ActionRequest, song: Song, folder: Path, networks: Networks) -> Iterator[Progress | Made]:
    """A MIDI file of what the composer wrote; one for each stretch where it wrote several."""
    from planner.composer.midi import to_midi

    yield Progress("writing")
    assert song.track is not None
    names, summaries = list[str](), list[str]()
    scores = scores_of(song.track)
    for number, (score, start_s) in enumerate(scores, start=1):
        names.append(song.file_name(".mid", str(number) if len(scores) > 1 else ""))
        write_whole(folder / names[-1], to_midi(score, start_s=start_s, title=song.title))
        summaries.append(score.summary())
    yield Made(names=names, facts={"score": "; ".join(dict.fromkeys(summaries))})


def scores_of(track: Track) -> list[tuple[Score, float]]:
    """The scores that a track was rendered from, and where in the song each begins, in seconds.

    Raises StudioError where this version's composer would write others.
    """
    from planner.composer.recall import recalled

    assert track.asked_as is not None
    request = parse(track.asked_as, track.asked())
    (start_s, _), *later_s = track.windows_s
    scores = recalled(request, track.seed, track.plan, start_s, *later_s)
    return list(zip(scores, [start_s, *(start for start, _ in later_s)], strict=True))


def _not_composed(track: Track | None) -> str | None:
    from planner.composer.recall import is_composed

    return None if track is not None and is_composed(track.plan) else NOT_COMPOSED


def _lrc(asked: ActionRequest, song: Song, folder: Path, networks: Networks) -> Iterator[Progress | Made]:
    """A file of the words with their times."""
    assert song.track is not None
    times = yield from _times(song, networks)
    yield Progress("writing")
    name = song.file_name(".lrc")
    written = synced.to_lrc(times.lines, times.sections, song.title, times.how, song.seconds)
    write_whole(folder / name, written.encode())
    yield Made(names=[name], facts={"lines": len(times.lines), "times": synced.TOLD[times.how]}, notes=times.notes)


@dataclass(frozen=True, kw_only=True)
class Times:
    """The lines and sections of a song with their times, how those were found, and what did not go as usual."""

    lines: Sequence[Line]
    sections: Sequence[Section]
    how: How
    notes: tuple[str, ...] = ()


def composed_times(track: Track) -> Times | None:
    """The times that the score of a track gives, which is at hand within no time; None where it has none.

    Raises StudioError where this version's composer would write another score.
    """
    if _not_composed(track) is not None:
        return None
    scores = scores_of(track)
    return Times(
        lines=[
            Line(each.text, start_s + each.start_s, start_s + each.end_s)
            for score, start_s in scores
            for each in score.lines
        ],
        sections=[Section(each.tag, start_s + each.start_s) for score, start_s in scores for each in score.sections],
        how="score",
        notes=tuple(dict.fromkeys(f"no room for: {text}" for score, _ in scores for text in score.unsung)),
    )


def _times(song: Song, networks: Networks) -> Generator[Progress, None, Times]:
    """Progress; returns the times from the best source that there is: the score, the song itself, the plan."""
    track = song.track
    assert track is not None
    composed = composed_times(track)
    if composed is not None:
        return composed
    why = f"{track.checkpoint} cannot be asked where it sang them"
    if song.job is not None and song.latents is not None and networks.song.lyric_heads:
        for event in align(song.job, plan_from(track.plan, track.seconds), song.latents, networks.song):
            if isinstance(event, Progress):
                yield event
            elif event.found:
                missed = len(event.lines) - event.found
                notes = (f"{missed} lines were not found and stand between their neighbours",) if missed else ()
                return Times(lines=event.lines, sections=event.sections, how="attention", notes=notes)
        why = "none of them stands out in the song"
    elif song.latents_fault:
        why = f"the latents kept beside it were left aside, {song.latents_fault}"
    lines, sections = synced.estimated(str(track.values.get("lyrics") or ""), song.seconds)
    return Times(lines=lines, sections=sections, how="plan", notes=(f"estimated: {why}",))


@dataclass(frozen=True, kw_only=True)
class SungTimes:
    """When the lines of a song are sung and its sections begin.

    `found` of the lines stand out in what the DiT attends to, the others were placed between them: where it is 0, the
    times mean nothing.
    """

    lines: tuple[Line, ...]
    sections: tuple[Section, ...]
    found: int


def has_words(lyrics: str) -> bool:
    """Whether lyrics have a line that is sung: the names of sections, as in [Instrumental], are not."""
    return any(lines for _, lines in sections_of(lyrics))


def align(job: Job, plan: Plan, latents: NDArray[np.float16], runtime: Runtime) -> Iterator[Progress | SungTimes]:
    """Progress, then the SungTimes of a rendered song; the same song gives the same times.

    `job` made the song, with its adapters and recordings; `plan` is the one that it followed (`core.plans.plan_from`)
    and `latents` `(T, C)` what became of it. Where windows were made anew, their words alone are sought, in them alone
    and in order.

    Raises StudioError for a song without words, and where nobody knows which heads of the checkpoint follow them.
    """
    import numpy as np

    from networks.acestep.alignment import line_times, words_of
    from pipeline import last_step

    if not has_words(plan.music.lyrics):
        raise StudioError("The song has no words that are sung.", "Choose one with lyrics.")
    if not runtime.lyric_heads:
        raise StudioError("It is not known where this checkpoint keeps track of the words.", "Estimate their times.")
    step = yield from last_step(job, plan, latents, runtime)
    told = Progress("listening", note="finding the words in the song")
    yield told
    words, patch = words_of(step.words, runtime.lyric_offsets(step.words)), runtime.shape.patch
    maps = runtime.cross_attention(
        step.x,
        step.t,
        step.view.context,
        step.view.condition,
        heads=runtime.lyric_heads,
        positions=words.positions,
    )
    frames = np.concatenate([np.arange(start // patch, -(-stop // patch)) for start, stop in step.windows])
    frame_s = patch / runtime.shape.frames_hz
    shown = [each.numpy()[frames] for each in maps]
    times = partial(line_times, shown, words, frame_s, at_s=frames * frame_s, end_s=step.seconds)
    yield apart((yield from telling(told, aside(times))))


def apart(times: Sequence[LineTime]) -> SungTimes:
    """The lines and sections apart. A section whose tag nothing attends to begins with its first line."""
    lines, sections, found = [], [], 0
    for index, each in enumerate(times):
        if not _is_section(each.text):
            lines.append(Line(each.text, each.start_s, each.end_s))
            found += each.found
            continue
        after = times[index + 1] if index + 1 < len(times) else each
        start_s = each.start_s if each.found or not after.found else after.start_s
        sections.append(Section(each.text[1:-1], start_s))
    return SungTimes(lines=tuple(lines), sections=tuple(sections), found=found)


def _is_section(line: str) -> bool:
    return not any(lines for _, lines in sections_of(line))


def _looked_into(track: Track | None) -> str | None:
    """The checkpoint that tells where it sang the words of a track, where that is here."""
    if track is None or _not_composed(track) is None or track.checkpoint not in table.CHECKPOINTS:
        return None
    there = track.latents_path.is_file() and find.locate(table.row(track.checkpoint)) is not None
    return track.checkpoint if there else None


def _without_words(track: Track | None) -> str | None:
    if track is None:
        return NO_TRACK
    return None if has_words(str(track.values.get("lyrics") or "")) else NO_WORDS


ACTIONS: Mapping[type[ActionRequest], Action] = MappingProxyType(
    {
        StemsRequest: Action(
            make=_stems,
            weights=lambda track: table.SEPARATOR,
            tflop=_stems_tflop,
            bytes_per_s=8 * WAV32_BYTES,  # four stems, and all of them packed
        ),
        NormaliseRequest: Action(make=_normalise),
        ExportRequest: Action(make=_export, bytes_per_s=WAV32_BYTES),
        NotesRequest: Action(make=_notes, refusal=_not_composed, bytes_per_s=0),
        LrcRequest: Action(
            make=_lrc,
            refusal=_without_words,
            weights=_looked_into,
            tflop=lambda request: LOOK_INSIDE_TFLOP,
            bytes_per_s=0,
        ),
    }
)
