"""The composer keeps what it is asked for, at every length and tempo, and always the same way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.errors import RequestError
from core.music import KNOBS, Music
from core.tables import KEYSCALES, TIME_SIGNATURES
from planner.composer.score import Brief, Score, compose, parse_key, sketch
from planner.composer.styles import section_kinds, styles

SCALES = {"major": {0, 2, 4, 5, 7, 9, 11}, "minor": {0, 2, 3, 5, 7, 8, 10}}
SONG = """[Intro]

[Verse 1]
Walking home alone tonight
Every window shows a light

[Chorus]
Stay with me until the day
Never let me drift away

[Outro]
"""


def brief(**changes: Any) -> Brief:
    """A brief, of which facts as well as the rest may be changed by name."""
    facts = {name: changes.pop(name) for name in KNOBS if name in changes}
    return Brief(music=Music(**{"caption": "a pop song", "duration_s": 20.0, **facts}), **{"seed": 7, **changes})


def level_of(score: Score, start_s: float, end_s: float) -> float:
    audio = sketch(score, 8000)
    return float(np.sqrt(np.mean(audio[:, int(start_s * 8000) : int(end_s * 8000)] ** 2)))


def test_equal_briefs_give_equal_sketches_and_another_seed_gives_another_tune() -> None:
    first, again = compose(brief()), compose(brief())
    assert first == again
    assert np.array_equal(sketch(first), sketch(again))
    assert compose(brief(seed=8)).notes != first.notes


def test_what_is_asked_for_is_kept_and_what_is_left_open_is_chosen() -> None:
    asked = compose(brief(bpm=77, keyscale="B♭ minor", timesignature="3"))
    assert (asked.bpm, asked.keyscale, asked.timesignature) == (77, "B♭ minor", 3)
    chosen = compose(brief())
    low, high = styles()["pop"].bpm
    assert chosen.style == "pop"
    assert low <= chosen.bpm <= high
    assert chosen.keyscale in KEYSCALES


@pytest.mark.parametrize("style", styles())
@pytest.mark.parametrize("keyscale", ["C major", "F# minor", "E♭ major"])
def test_every_note_that_does_not_walk_lies_in_the_key(style: str, keyscale: str) -> None:
    score = compose(brief(caption=style, keyscale=keyscale, bpm=100, timesignature="4"))
    tonic, mode = parse_key(keyscale)
    inside = [(note.pitch - tonic) % 12 in SCALES[mode] for note in score.notes]
    assert np.mean(inside) > 0.97


@pytest.mark.parametrize(("metre", "beats"), [(2, 2), (3, 3), (4, 4), (6, 2)])
def test_the_bass_falls_on_the_bars_of_the_metre(metre: int, beats: int) -> None:
    score = compose(brief(caption="ambient", bpm=60, timesignature=str(metre), duration_s=24.0))
    starts = [note.start_s for note in score.notes if note.part == "bass"]
    assert starts == pytest.approx(np.arange(0, 24, beats).tolist())


def test_every_key_and_metre_of_the_request_can_be_composed() -> None:
    for keyscale in KEYSCALES:
        for metre in TIME_SIGNATURES:
            score = compose(brief(keyscale=keyscale, timesignature=metre, duration_s=4.0))
            assert score.keyscale == keyscale
            assert score.notes


@pytest.mark.parametrize("duration_s", [0.5, 3.21, 10.004, 61.37])
@pytest.mark.parametrize("bpm", [30, 97, 300])
def test_the_sketch_has_exactly_the_length_asked_for_and_sounds(duration_s: float, bpm: int) -> None:
    audio = sketch(compose(brief(duration_s=duration_s, bpm=bpm)))
    assert audio.shape == (2, round(duration_s * 48_000))
    assert audio.dtype == np.float32
    assert 0.02 < np.sqrt(np.mean(audio**2)) < 0.4
    assert np.max(np.abs(audio)) < 1.0


def test_ten_minutes_at_three_hundred_beats_are_planned_to_the_end() -> None:
    score = compose(brief(duration_s=600.0, bpm=300))
    assert score.sections[0].start_s == 0.0
    assert score.sections[-1].end_s == 600.0
    assert max(note.start_s for note in score.notes) > 598.0


def test_sections_come_from_the_tags_of_the_lyrics_and_follow_each_other() -> None:
    score = compose(brief(lyrics=SONG, duration_s=40.0, bpm=120))
    assert [section.tag for section in score.sections] == ["intro", "verse 1", "chorus", "outro"]
    assert [section.end_s for section in score.sections[:-1]] == [section.start_s for section in score.sections[1:]]
    assert score.sections[-1].end_s == 40.0


def test_a_chorus_is_louder_and_busier_than_an_intro() -> None:
    score = compose(brief(lyrics=SONG, duration_s=40.0, bpm=120))
    intro, _, chorus, _ = score.sections
    assert level_of(score, *chorus[1:]) > 1.2 * level_of(score, *intro[1:])
    hits = [sum(section.start_s <= hit.start_s < section.end_s for hit in score.hits) for section in (intro, chorus)]
    per_second = [
        count / (section.end_s - section.start_s) for count, section in zip(hits, (intro, chorus), strict=True)
    ]
    assert per_second[1] > per_second[0]


def test_a_song_has_a_note_for_every_syllable_and_an_instrumental_none() -> None:
    lyrics = "[Verse]\nWalking home alone\nEvery window glows"
    sung = compose(brief(lyrics=lyrics, duration_s=10.0, bpm=100))
    assert sung.sung
    assert sum(note.part == "voice" for note in sung.notes) == 5 + 6  # walk-ing home a-lone, e-ve-ry win-dow glows
    silent = compose(brief(lyrics=lyrics, duration_s=10.0, bpm=100, instrumental=True))
    assert not silent.sung
    assert not any(note.part == "voice" for note in silent.notes)
    assert any(note.part == "lead" for note in silent.notes)


def test_lyrics_in_a_script_without_vowels_are_sung_letter_by_letter() -> None:
    score = compose(brief(lyrics="[Verse]\n夜空を見る", duration_s=10.0, bpm=100))
    assert sum(note.part == "voice" for note in score.notes) == 5


@pytest.mark.parametrize(
    ("prompt", "style"),
    [
        ("a slow sad folk waltz", "folk"),
        ("Techno, 140 bpm, dark", "electronic"),
        ("8-bit arcade music", "chiptune"),
        ("rainy lo-fi hip hop beats to study", "lofi"),
        ("smoky jazz with a walking bass", "jazz"),
        ("epic cinematic orchestral", "ambient"),
        ("distorted guitars, punk", "rock"),
    ],
)
def test_the_words_of_the_prompt_choose_the_style(prompt: str, style: str) -> None:
    assert compose(brief(caption=prompt)).style == style


def test_words_of_mood_tempo_and_metre_are_heard() -> None:
    assert compose(brief(caption="techno 141 bpm")).bpm == 141
    assert compose(brief(caption="sad pop")).keyscale.endswith("minor")
    assert compose(brief(caption="happy pop")).keyscale.endswith("major")
    assert compose(brief(caption="folk waltz")).timesignature == 3
    slow = [compose(brief(caption="slow pop", seed=seed)).bpm for seed in range(20)]
    fast = [compose(brief(caption="fast pop", seed=seed)).bpm for seed in range(20)]
    assert max(slow) < min(fast)


def test_fixing_one_value_leaves_the_other_choices_as_they_were() -> None:
    free = compose(brief())
    fixed = compose(brief(bpm=200))
    assert (fixed.keyscale, fixed.style) == (free.keyscale, free.style)


@pytest.mark.parametrize("anchor_s", [0.0, 0.7, -3.3, 500.2])
def test_bars_are_laid_from_the_anchor(anchor_s: float) -> None:
    score = compose(brief(caption="ambient", bpm=60, timesignature="4", anchor_s=anchor_s, opens=False, closes=False))
    starts = np.array([note.start_s for note in score.notes if note.part == "bass" and note.start_s > 0])
    assert np.abs((starts - anchor_s + 2.0) % 4.0 - 2.0).max() < 1e-6


def test_a_window_inside_a_song_neither_opens_nor_closes_it() -> None:
    inside = compose(brief(opens=False, closes=False, duration_s=60.0))
    assert not {"intro", "outro"} & {section.tag for section in inside.sections}


def test_every_section_feel_is_reached_by_a_tag() -> None:
    lyrics = "\n".join(f"[{name}]" for name in section_kinds())
    assert [s.tag for s in compose(brief(lyrics=lyrics, duration_s=60.0)).sections] == list(section_kinds())


def test_the_summary_says_style_tempo_metre_key_and_form() -> None:
    score = compose(brief(lyrics=SONG, duration_s=40.0, bpm=120, keyscale="G major", timesignature="4"))
    assert score.summary().startswith("pop, 120 bpm, 4/4, G major: intro 0:00, verse 1 0:")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"bpm": 29}, "bpm"),
        ({"bpm": 301}, "bpm"),
        ({"timesignature": "5"}, "timesignature"),
        ({"duration_s": 0.4}, "duration_s"),
        ({"keyscale": "H major"}, "keyscale"),
    ],
)
def test_values_out_of_range_are_refused_by_name(changes: dict[str, object], field: str) -> None:
    with pytest.raises(RequestError) as refused:
        compose(brief(**changes))
    assert [fault.field for fault in refused.value.faults] == [field]
