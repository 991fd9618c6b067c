"""What the composer wrote can be had again: the score of a song that is there, its words with their times, its MIDI."""

from __future__ import annotations

import dataclasses
import io
import itertools
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from mido import MidiFile

from backend import Settings, Studio
from core.knobs import parse
from core.music import KNOBS, Music
from core.params import MODES, EditRequest, ExtendRequest, GenerateRequest, SongRequest
from core.plans import Known, Plan, Span
from core.tables import KEYSCALES, PITCH_CLASSES, TIME_SIGNATURES, Mode
from library.records import Track
from library.tracks import Library
from networks.machine import Machine
from planner.composer.midi import DRUM_KEYS, key_signature, to_midi, velocity
from planner.composer.planner import ComposerPlanner
from planner.composer.recall import UnknownScore, is_composed, recalled
from planner.composer.score import Brief, Score, compose, sketch
from planner.composer.styles import styles

SONG = """[Intro]

[Verse 1]
Walking home alone tonight
Every window shows a light

[Chorus]
Stay with me until the day
Never let me drift away

[Outro]
"""
JAPANESE = "[verse]\n夜空を見る\n...\n[chorus]\nwe go home"
INSIDE = {"opens": False, "closes": False}


def brief(**changes: Any) -> Brief:
    """A brief, of which facts as well as the rest may be changed by name."""
    facts = {name: changes.pop(name) for name in KNOBS if name in changes}
    music = Music(**{"caption": "a pop song", "lyrics": SONG, "duration_s": 40.0, **facts})
    return Brief(music=music, **{"seed": 7, **changes})


def planned(request: SongRequest, seed: int, span: Span) -> Plan:
    return next(event for event in ComposerPlanner().plan(request, seed, span) if isinstance(event, Plan))


def assert_plays(score: Score, plan: Plan) -> None:
    """The score sounds as the plan's guide, sample for sample."""
    (guide,) = plan.guides
    assert np.array_equal(sketch(score), guide)


# The digests were taken from the scores before these had lines: the words' times changed no note.
@pytest.mark.parametrize(
    ("changes", "digest"),
    [
        ({}, "7823e5afc7f531e1"),
        ({"duration_s": 9.0, "bpm": 60}, "56e5d451cfc0baad"),
        ({"caption": "jazz waltz", "lyrics": "", "duration_s": 30.0, "seed": 3}, "a322747c7417c95a"),
        ({"caption": "folk", "seed": 2**31 - 1, "instrumental": True}, "1f608d2b671618d8"),
        (
            {"caption": "lofi", "lyrics": JAPANESE, "duration_s": 25.3, "seed": 0, "timesignature": "6"},
            "e651411029c4ff26",
        ),
        ({"caption": "rock", "duration_s": 20.0, "seed": 5, "anchor_s": 0.7, **INSIDE}, "b1ba4c611a280c27"),
        ({"caption": "techno 140 bpm", "lyrics": "", "duration_s": 600.0, "seed": 1}, "d62f1c7779da06f8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_notes_of_a_brief_are_the_ones_they_always_were(changes: dict[str, Any], digest: str) -> None:
    assert compose(brief(**changes)).digest() == digest


def test_any_change_of_what_is_played_changes_the_digest_and_the_words_do_not() -> None:
    score = compose(brief())
    note, hit = score.notes[5], score.hits[5]
    others = [
        dataclasses.replace(score, bpm=score.bpm + 1),
        dataclasses.replace(score, notes=(*score.notes[:5], note._replace(pitch=note.pitch + 1), *score.notes[6:])),
        dataclasses.replace(score, notes=(*score.notes[:5], note._replace(level=0.5), *score.notes[6:])),
        dataclasses.replace(score, hits=(*score.hits[:5], hit._replace(start_s=hit.start_s + 0.001), *score.hits[6:])),
        dataclasses.replace(score, notes=score.notes[:-1]),
        dataclasses.replace(score, sections=score.sections[:-1]),
    ]
    assert len({score.digest(), *(other.digest() for other in others)}) == 1 + len(others)
    assert dataclasses.replace(score, lines=()).digest() == score.digest()


# The lines of a score


def voice(score: Score) -> list[float]:
    return [note.start_s for note in score.notes if note.part == "voice"]


def test_every_sung_line_begins_with_its_first_note_and_ends_with_its_last() -> None:
    score = compose(brief())
    assert [(line.tag, line.text) for line in score.lines] == [
        ("verse 1", "Walking home alone tonight"),
        ("verse 1", "Every window shows a light"),
        ("chorus", "Stay with me until the day"),
        ("chorus", "Never let me drift away"),
    ]
    assert score.unsung == ()
    sounding = [note for note in score.notes if note.part == "voice"]
    held = [[note for note in sounding if line.start_s <= note.start_s < line.end_s] for line in score.lines]
    assert [note for notes in held for note in notes] == sounding
    for line, notes in zip(score.lines, held, strict=True):
        assert line.start_s == notes[0].start_s
        assert line.end_s == pytest.approx(max(note.start_s + note.seconds for note in notes))
    assert [len(notes) for notes in held] == [7, 8, 7, 7]


@pytest.mark.parametrize("bpm", [60, 143])
@pytest.mark.parametrize("timesignature", TIME_SIGNATURES)
@pytest.mark.parametrize("anchor_s", [0.0, 0.7, -3.3])
def test_lines_lie_in_their_sections_and_one_after_the_other(bpm: int, timesignature: str, anchor_s: float) -> None:
    score = compose(brief(bpm=bpm, timesignature=timesignature, anchor_s=anchor_s, duration_s=33.3))
    starts = voice(score)
    for line in score.lines:
        assert line.start_s in starts
        section = next(each for each in score.sections if each.start_s <= line.start_s + 1e-6 < each.end_s)
        assert section.tag == line.tag
        assert line.start_s < line.end_s <= score.duration_s
    assert all(first.end_s <= second.start_s for first, second in itertools.pairwise(score.lines))
    assert len(score.lines) + len(score.unsung) == 4


def test_a_line_that_the_form_has_no_room_for_is_told_and_gets_no_time() -> None:
    lines = [f"line number {count}" for count in "abcdefgh"]
    score = compose(brief(lyrics="[verse]\n" + "\n".join(lines), duration_s=12.0, bpm=100))
    assert [line.text for line in score.lines] == lines[: len(score.lines)]
    assert 1 < len(score.lines) < 8
    assert list(score.unsung) == lines[len(score.lines) :]


def test_what_has_no_syllable_or_stands_where_nobody_sings_is_told_as_unsung() -> None:
    score = compose(brief(lyrics="[intro]\nla la la\n[verse]\n...\nhome again\n[outro]", bpm=120))
    assert [line.text for line in score.lines] == ["home again"]
    assert score.unsung == ("la la la", "...")


def test_an_instrumental_has_sections_and_no_lines() -> None:
    score = compose(brief(instrumental=True))
    assert (score.lines, score.unsung) == ((), ())
    assert [section.tag for section in score.sections] == ["intro", "verse 1", "chorus", "outro"]


# The score of a song that is there


@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1])
@pytest.mark.parametrize(
    "values",
    [
        {"prompt": "lofi", "duration_s": 10.0},
        {"prompt": "  folk waltz\n", "lyrics": SONG, "duration_s": None},
        {"prompt": "dark techno 141 bpm", "lyrics": SONG, "instrumental": True, "duration_s": 13.37},
        {"lyrics": "[verse]\nhome", "bpm": 60, "keyscale": "B♭ minor", "timesignature": "6", "duration_s": 10.01},
        {"prompt": "house", "plan": "caption: slow jazz\nbpm: 77\n", "duration_s": 10.0},
    ],
    ids=["short", "length from words", "instrumental", "all facts", "own plan"],
)
def test_the_score_of_a_new_song_plays_its_guide(values: dict[str, Any], seed: int) -> None:
    request = parse(GenerateRequest, values)
    plan = planned(request, seed, Span(duration_s=request.music.duration_s))
    (score,) = recalled(request, seed, plan.summary(), 0.0)
    assert_plays(score, plan)
    assert score.bpm == plan.music.bpm


@pytest.mark.parametrize(
    ("request_class", "values"),
    [
        (ExtendRequest, {"src_audio": "gone.wav", "lyrics": "[verse]\nSnow on the roof"}),
        (ExtendRequest, {"src_audio": "gone.wav", "prompt": "rock", "bpm": 90}),
        (EditRequest, {"src_audio": "gone.wav", "prompt": "drum solo", "keyscale": "D minor"}),
    ],
)
@pytest.mark.parametrize(("start_s", "seconds"), [(7.3, 6.2), (0.0, 5.123), (31.25, 0.3)])
def test_the_score_of_a_window_is_found_without_its_source(
    request_class: type[SongRequest], values: dict[str, object], start_s: float, seconds: float
) -> None:
    request = parse(request_class, values)
    heard = Known(music=Music(caption="slow waltz", bpm=93, keyscale="F# minor", timesignature="3"), anchor_s=1.21)
    plan = planned(request, 5, Span(start_s=start_s, duration_s=seconds, surroundings=heard))
    (score,) = recalled(request, 5, plan.summary(), start_s)
    assert_plays(score, plan)


def test_notes_that_this_composer_would_write_otherwise_are_refused() -> None:
    request = parse(GenerateRequest, {"prompt": "lofi", "duration_s": 10.0})
    facts = planned(request, 7, Span(duration_s=10.0)).summary()
    for changes in ({"score": "0" * 16}, {"bpm": 300}, {"duration_s": 11.0}, {"duration_s": None}, {"duration_s": 0.1}):
        with pytest.raises(UnknownScore, match="writes others.*Make the song again"):
            recalled(request, 7, {**facts, **changes}, 0.0)
    with pytest.raises(UnknownScore):
        recalled(request, 8, facts, 0.0)


def test_a_song_that_was_not_composed_has_no_notes() -> None:
    request = parse(GenerateRequest, {"prompt": "lofi", "duration_s": 10.0})
    for plan in (
        Plan(music=request.music).summary(),
        Plan(music=request.music, planner="lm", codes=(1,)).summary(),
        {},
    ):
        assert not is_composed(plan)
        with pytest.raises(UnknownScore, match="did not write them"):
            recalled(request, 7, plan, 0.0)


@pytest.fixture(scope="module")
def studio(tiny_nano: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("songs")
    made = Studio(Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=folder))
    yield made
    made.close()


def song_of(studio: Studio, mode: Mode, **values: object) -> Track:
    """A song as another studio in the same folder finds it, from its sidecar."""
    request = parse(MODES[mode], {"seed": 4, "inference_steps": 1, **values})
    track = next(event for event in studio.run(request) if isinstance(event, Track))
    return Library(track.path.parent).get(track.id)


@pytest.fixture(scope="module")
def source(studio: Studio) -> Track:
    return song_of(studio, "generate", prompt="pop with piano", lyrics=SONG, duration_s=10, bpm=120)


def score_of(track: Track) -> Score:
    assert track.asked_as is not None
    request = parse(track.asked_as, track.asked())
    (score,) = recalled(request, track.seed, track.plan, track.window_start_s)
    return score


def assert_recalled(track: Track) -> Score:
    score = score_of(track)
    assert score.digest() == track.plan["score"]
    assert score.duration_s == pytest.approx(track.window_end_s - track.window_start_s, abs=1e-4)
    assert track.plan["notes"] == score.summary()
    return score


def test_the_score_of_a_saved_song_is_the_one_it_was_rendered_from(source: Track) -> None:
    assert [line.tag for line in assert_recalled(source).lines] == ["verse 1", "chorus"]


@pytest.mark.slow
def test_the_midi_of_an_extension_lies_where_the_song_has_it(studio: Studio, source: Track) -> None:
    track = song_of(
        studio, "extend", src_audio=str(source.path), lyrics="[verse]\nhome again", extra_duration_s=5, overlap_s=1.3
    )
    score = assert_recalled(track)
    assert [line.text for line in score.lines] == ["home again"]
    heard = heard_in(to_midi(score, start_s=track.window_start_s, title=track.title))
    assert_played(score, heard, track.window_start_s)
    assert heard.file.length == pytest.approx(track.seconds, abs=0.001)
    assert heard.bars[:3] == pytest.approx([0.0, 2.0, 4.0])  # the song it goes on from begins on a downbeat


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "values"),
    [
        ("extend", {"side": "before", "extra_duration_s": 5.3}),
        ("edit", {"prompt": "rock", "segment_start_s": 3.21, "segment_end_s": 6.5}),
    ],
)
def test_the_score_of_a_window_before_or_inside_is_recalled(
    studio: Studio, source: Track, mode: Mode, values: dict[str, object]
) -> None:
    score = assert_recalled(song_of(studio, mode, src_audio=str(source.path), **values))
    assert score.notes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "values"),
    [("edit", {"prompt": "rock", "edit_mode": "flow", "segment_end_s": 4}), ("cover", {"prompt": "chiptune"})],
)
def test_a_saved_song_whose_notes_are_another_songs_has_none(
    studio: Studio, source: Track, mode: Mode, values: dict[str, object]
) -> None:
    track = song_of(studio, mode, src_audio=str(source.path), **values)
    assert not is_composed(track.plan)
    with pytest.raises(UnknownScore, match="did not write them"):
        score_of(track)


# MIDI, read back


class Stroke(NamedTuple):
    part: str
    key: int
    start_s: float
    end_s: float
    velocity: int


class Meta(NamedTuple):
    kind: str
    value: object
    start_s: float


class Heard(NamedTuple):
    file: MidiFile
    strokes: list[Stroke]
    metas: list[Meta]
    channels: dict[str, set[int]]
    bars: list[float]
    """Where measures begin by the file's own metres."""

    def told(self, kind: str) -> list[object]:
        return [meta.value for meta in self.metas if meta.kind == kind]


def heard_in(data: bytes) -> Heard:
    """What a player of the file would do, in seconds by the file's own tempo map."""
    file = MidiFile(file=io.BytesIO(data), charset="utf-8")
    ticks, times, tempos, now = [0], [0.0], [500_000], 0
    for message in file.tracks[0]:
        now += message.time
        if message.type == "set_tempo":
            times.append(times[-1] + (now - ticks[-1]) * tempos[-1] / file.ticks_per_beat / 1e6)
            ticks.append(now)
            tempos.append(message.tempo)

    def seconds(tick: int) -> float:
        at = bisect_right(ticks, tick) - 1
        return times[at] + (tick - ticks[at]) * tempos[at] / file.ticks_per_beat / 1e6

    strokes: list[Stroke] = []
    metas: list[Meta] = []
    channels: dict[str, set[int]] = {}
    metres, end = [], 0
    values = {"set_tempo": "tempo", "key_signature": "key", "marker": "text", "lyrics": "text", "track_name": "name"}
    for track in file.tracks:
        now, down, name = 0, {}, ""
        for message in track:
            now += message.time
            if message.type == "track_name":
                name = message.name
            if message.type == "time_signature":
                metas.append(Meta("time_signature", (message.numerator, message.denominator), seconds(now)))
                metres.append((now, file.ticks_per_beat * 4 * message.numerator // message.denominator))
            elif message.type == "program_change":
                metas.append(Meta("program", (name, message.program), seconds(now)))
            elif message.type in values:
                metas.append(Meta(message.type, getattr(message, values[message.type]), seconds(now)))
            elif message.type == "note_on":
                assert message.note not in down, "a key that is down goes down"
                down[message.note] = (now, message.velocity)
                channels.setdefault(name, set()).add(message.channel)
            elif message.type == "note_off":
                start, loud = down.pop(message.note)
                strokes.append(Stroke(name, message.note, seconds(start), seconds(now), loud))
        assert not down, "a key stays down"
        end = max(end, now)
    bars = [
        seconds(tick)
        for (first, step), (last, _) in itertools.pairwise([*metres, (end, 0)])
        for tick in range(first, last, step)
    ]
    return Heard(file, sorted(strokes), metas, channels, bars)


def assert_played(score: Score, heard: Heard, start_s: float = 0.0) -> None:
    """Every note and hit of the score begins where it does, within a millisecond, and nothing else is played."""
    notes = {(note.part, note.pitch, start_s + note.start_s) for note in score.notes}
    played = sorted(notes | {("drums", DRUM_KEYS[hit.drum], start_s + hit.start_s) for hit in score.hits})
    assert [(part, key) for part, key, _ in played] == [stroke[:2] for stroke in heard.strokes]
    late = [abs(stroke.start_s - at) for stroke, (_, _, at) in zip(heard.strokes, played, strict=True)]
    assert max(late) < 0.001


@pytest.mark.parametrize("style", styles())
@pytest.mark.parametrize(("timesignature", "bpm"), [("2", 131), ("3", 97), ("4", 120), ("6", 61)])
def test_every_note_is_played_when_the_score_has_it(style: str, timesignature: str, bpm: int) -> None:
    score = compose(brief(caption=style, timesignature=timesignature, bpm=bpm, duration_s=20.0))
    heard = heard_in(to_midi(score))
    assert heard.file.type == 1
    assert heard.file.ticks_per_beat >= 480
    assert_played(score, heard)


@pytest.mark.parametrize(("timesignature", "bpm"), [("6", 299), ("4", 30), ("3", 31)])
def test_ten_minutes_do_not_drift(timesignature: str, bpm: int) -> None:
    score = compose(brief(caption="ambient", lyrics="", timesignature=timesignature, bpm=bpm, duration_s=600.0))
    heard = heard_in(to_midi(score))
    assert_played(score, heard)
    assert heard.file.length == pytest.approx(600.0, abs=0.001)


@pytest.mark.parametrize(
    ("timesignature", "metre", "quarters_per_minute"),
    [("2", (2, 4), 80), ("3", (3, 4), 80), ("4", (4, 4), 80), ("6", (6, 8), 120)],
)
def test_tempo_metre_and_bars_are_the_scores(
    timesignature: str, metre: tuple[int, int], quarters_per_minute: int
) -> None:
    heard = heard_in(to_midi(compose(brief(timesignature=timesignature, bpm=80, keyscale="F# minor"))))
    assert heard.told("time_signature") == [metre]
    assert heard.told("set_tempo") == [round(60e6 / quarters_per_minute)]
    assert heard.told("key_signature") == ["F#m"]
    beats = 2 if timesignature == "6" else int(timesignature)  # a beat of six eighths is a dotted quarter
    assert heard.bars == pytest.approx(np.arange(0, 40, beats * 60 / 80).tolist())


@pytest.mark.parametrize("anchor_s", [0.01, 0.3, 0.7, 1.4, 2.2, -3.3, 500.2])
@pytest.mark.parametrize("timesignature", TIME_SIGNATURES)
def test_a_song_that_begins_within_a_bar_has_a_pickup_and_then_bars(anchor_s: float, timesignature: str) -> None:
    score = compose(brief(bpm=90, timesignature=timesignature, anchor_s=anchor_s, duration_s=20.0, **INSIDE))
    heard = heard_in(to_midi(score))
    assert_played(score, heard)
    bar_s = (2 if timesignature == "6" else int(timesignature)) * 60 / 90
    assert heard.bars[0] == 0.0
    off = (np.array(heard.bars[1:]) - anchor_s + bar_s / 2) % bar_s - bar_s / 2
    assert np.abs(off).max() < 0.001
    assert np.diff(heard.bars).max() < 2 * bar_s
    tempos = [int(str(tempo)) for tempo in heard.told("set_tempo")]
    assert max(tempos) / min(tempos) < 1.4


def test_what_is_new_in_a_song_lies_where_the_song_has_it_and_its_bars_are_the_songs() -> None:
    window_s, downbeat_s, bar_s = 13.37, 0.2, 4 * 60 / 100
    score = compose(brief(bpm=100, timesignature="4", anchor_s=downbeat_s - window_s, duration_s=9.0, **INSIDE))
    heard = heard_in(to_midi(score, start_s=window_s))
    assert_played(score, heard, window_s)
    assert heard.bars[1:4] == pytest.approx([downbeat_s + bar_s * count for count in (1, 2, 3)], abs=0.001)
    assert heard.file.length == pytest.approx(window_s + 9.0, abs=0.001)


def test_each_part_has_its_track_its_channel_and_a_fitting_instrument() -> None:
    score = compose(brief(caption="rock", bpm=110))
    heard = heard_in(to_midi(score, title="夜空"))
    assert heard.told("track_name") == ["夜空", "chords", "bass", "lead", "voice", "drums"]
    assert heard.channels == {"chords": {0}, "bass": {1}, "lead": {2}, "voice": {3}, "drums": {9}}
    assert heard.told("program") == [("chords", 30), ("bass", 34), ("lead", 80), ("voice", 52)]
    silent = heard_in(to_midi(compose(brief(lyrics="", caption="rock"))))
    assert "voice" not in silent.channels


def test_every_style_has_an_instrument_for_each_part() -> None:
    assert {len(style.programs) for style in styles().values()} == {3}
    assert all(0 <= program < 128 for style in styles().values() for program in style.programs)


def test_sections_are_markers_and_sung_lines_lyrics_at_their_first_note() -> None:
    lyrics = f"{SONG}\n[夜空]\nŽluťoučký kůň\n"
    score = compose(brief(lyrics=lyrics, duration_s=60.0))
    metas = heard_in(to_midi(score)).metas
    for kind, wanted in (
        ("marker", [(section.tag, section.start_s) for section in score.sections]),
        ("lyrics", [(line.text, line.start_s) for line in score.lines]),
    ):
        told = [meta for meta in metas if meta.kind == kind]
        assert [meta.value for meta in told] == [text for text, _ in wanted]
        assert [meta.start_s for meta in told] == pytest.approx([at for _, at in wanted], abs=0.001)
    assert score.lines[-1].text == "Žluťoučký kůň"


def test_a_louder_note_has_a_higher_velocity_and_none_is_silent() -> None:
    score = compose(brief(caption="jazz", bpm=100))
    heard = heard_in(to_midi(score))
    levels = {(str(note.part), note.pitch, round(note.start_s, 2)): note.level for note in score.notes}
    for stroke in heard.strokes:
        if stroke.part != "drums":
            assert stroke.velocity == velocity(levels[stroke.part, stroke.key, round(stroke.start_s, 2)])
    assert [velocity(level) for level in (0.0, 0.25, 1.0, 1.5)] == [1, 64, 127, 127]


def test_no_note_outlasts_the_song() -> None:
    score = compose(brief(duration_s=20.3, bpm=77))
    heard = heard_in(to_midi(score))
    assert heard.file.length == pytest.approx(20.3, abs=0.001)
    assert max(stroke.end_s for stroke in heard.strokes) <= 20.301


def test_every_key_has_a_key_signature_that_sounds_like_it() -> None:
    for keyscale in KEYSCALES:
        note, _, scale = keyscale.partition(" ")
        name = key_signature(keyscale)
        assert name.endswith("m") == (scale == "minor")
        assert PITCH_CLASSES[name.removesuffix("m")] == PITCH_CLASSES[note]
        assert heard_in(to_midi(compose(brief(keyscale=keyscale, duration_s=2.0)))).told("key_signature") == [name]
    assert [key_signature(name) for name in ("B♭ major", "G# major", "Fb minor")] == ["Bb", "Ab", "Em"]


def test_equal_scores_give_equal_files() -> None:
    assert to_midi(compose(brief())) == to_midi(compose(brief()))
