"""One class of musical facts: how requests, plans, drafts and tracks say them, and how they become each other."""

from __future__ import annotations

import math
from typing import Any

import pytest

from core.drafts import Draft
from core.knobs import knobs_of, parse
from core.music import KNOBS, NO_LANGUAGE, NO_WORDS, OPEN, Music
from core.params import SONG_MODES, ExtendRequest, GenerateRequest
from core.plan_text import NAMES, PlanText, read_plan
from core.plans import Known, Plan, known_from, open_plan, plan_text
from planner.lm.prompts import facts_of, music_of

MUSIC = Music(
    caption="slow waltz",
    lyrics="[verse]\nRain",
    duration_s=42.0,
    bpm=93,
    keyscale="F# minor",
    timesignature="3",
    language="en",
)


def test_a_request_says_its_facts_and_gets_them_back_under_the_names_of_its_knobs() -> None:
    assert parse(GenerateRequest, MUSIC.by_knob()).music == MUSIC
    assert set(KNOBS.values()) <= {knob.name for knob in knobs_of(GenerateRequest)}


@pytest.mark.parametrize("cls", SONG_MODES.values())
def test_a_song_without_words_says_so_in_every_mode(cls: type[Any]) -> None:
    music = cls(prompt="x", vocal_language="fr").music
    assert (music.lyrics, music.language) == (NO_WORDS, NO_LANGUAGE)


def test_a_plan_in_a_request_goes_before_its_own_knobs() -> None:
    request = parse(GenerateRequest, {"prompt": "x", "keyscale": "C major", "plan": "bpm: 92\ncaption: y"})
    assert (request.music.caption, request.music.bpm, request.music.keyscale) == ("y", 92, "C major")


def test_facts_that_are_left_open_are_taken_from_elsewhere() -> None:
    assert OPEN.over(MUSIC) == MUSIC == MUSIC.over(Music(caption="y", bpm=60))
    assert Music(bpm=60).over(MUSIC).bpm == 60
    assert OPEN.facts() == {}


def test_a_planner_reads_its_facts_back_from_its_own_names() -> None:
    facts = facts_of(MUSIC)
    assert facts == {name: facts[name] for name in NAMES.values()}
    assert facts["duration"] == 42
    assert music_of(facts) == Music(**{**MUSIC.facts(), "lyrics": ""})  # type: ignore[arg-type]


def test_a_plan_is_the_same_plan_after_the_way_through_a_track() -> None:
    plan = Plan(music=MUSIC, anchor_s=0.5, planner="me", codes=(1, 2))
    assert list(plan.summary()) == [
        *("planner", "caption", "lyrics", "duration_s", "bpm", "keyscale"),
        *("timesignature", "vocal_language", "anchor_s", "notes", "codes"),
    ]
    assert known_from(plan.summary()) == Known(music=MUSIC, anchor_s=0.5)
    written = read_plan(plan_text(Plan(music=MUSIC, planner="me").summary()))
    assert written == PlanText(music=Music(**{**MUSIC.facts(), "lyrics": ""}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "edited",
    [
        {"bpm": "abc"},
        {"bpm": math.nan},
        {"bpm": 10**400},
        {"duration_s": math.inf},
        {"duration_s": [1]},
        {"keyscale": "H major"},
        {"timesignature": 4},
        {"vocal_language": {}},
        {"anchor_s": math.nan},
        {"codes": "1 x"},
        {"codes": "9" * 5000},
        {"codes": "64000"},
    ],
    ids=lambda edited: str(edited)[:24],
)
def test_what_cannot_be_a_fact_in_an_edited_sidecar_is_left_open(edited: dict[str, object]) -> None:
    (name,) = edited
    whole = Plan(music=MUSIC, anchor_s=0.5, codes=tuple(range(210))).summary()
    without = {key: value for key, value in whole.items() if key != name}
    assert plan_text({**whole, **edited}) == plan_text(without)
    assert known_from({**whole, **edited}) == known_from(without)


def test_what_is_made_of_a_recording_has_its_tempo_and_not_its_words() -> None:
    request = parse(ExtendRequest, {"src_audio": "song.wav", "lyrics": "[verse]\nSnow", "bpm": 60})
    music = open_plan(request, 5.0, Known(music=MUSIC)).music
    assert (music.caption, music.bpm, music.keyscale, music.duration_s) == ("slow waltz", 60, "F# minor", 5.0)
    assert (music.lyrics, music.language) == ("[verse]\nSnow", NO_LANGUAGE)


def test_a_draft_without_words_empties_the_lyrics_and_one_that_leaves_them_open_keeps_them() -> None:
    assert Draft(music=Music(lyrics=NO_WORDS), author="me").values()["lyrics"] == ""
    assert Draft(music=OPEN, author="me").values()["lyrics"] is None
