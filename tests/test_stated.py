"""What a line states outright is heard, and nothing that only looks like it."""

from __future__ import annotations

import pytest

from core.knobs import parse
from core.params import GenerateRequest
from core.plans import Plan, Span
from core.stated import bpm_stated, key_stated, length_stated
from planner.composer.planner import ComposerPlanner


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("slow reggae, 20 seconds", 20),
        ("a 90 second punk song about trains", 90),
        ("a 90-second jingle", 90),
        ("a two-minute waltz", 120),
        ("2 minutes 30 seconds of rain", 150),
        ("techno, 2 minutes 30 seconds", 150),
        ("techno, 2 min and 5 sec", 125),
        ("1.5 minutes, harp", 90),
        ("half a minute, harp", 30),
        ("a minute long, harp", 60),
        ("ballad 3:30", 210),
        ("Ambient, 45 s", 45),
        ("house from the 80s", None),
        ("90s house", None),
        ("5 minutes to midnight", None),
        ("ten minutes ago", None),
        ("a second chance", None),
        ("a waltz in 6/8", None),
        ("5 seconds", None),
        ("2 hours, 90 minutes", None),
        ("written 2026-11-28 at 12:30:15", None),
        ("", None),
    ],
)
def test_a_length_in_words_is_heard(line: str, seconds: float | None) -> None:
    assert length_stated(line) == seconds


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("techno at 128 bpm in D minor", "D minor"),
        ("a waltz in 3/4, F# major, 2 minutes", "F# major"),
        ("harp, e flat minor", "Eb minor"),
        ("harp, db major", "C# major"),
        ("harp in b minor", "B minor"),
        ("harp in bb minor", "Bb minor"),
        ("c-sharp minor etude", "C# minor"),
        ("rock in a minor", "A minor"),
        ("rock in A minor, slow", "A minor"),
        ("rock in a minor key", None),
        ("a minor setback", None),
        ("a major hit", None),
        ("a minor chord song in g major", "G major"),
        ("the major problem", None),
        ("", None),
    ],
)
def test_a_key_in_words_is_heard(line: str, key: str | None) -> None:
    assert key_stated(line.lower()) == key


def test_a_tempo_in_words_is_heard_where_songs_can_have_it() -> None:
    lines = ("house, 124 bpm", "124bpm", "999 bpm", "house")
    assert [bpm_stated(line) for line in lines] == [124, 124, None, None]


def test_a_length_that_is_left_open_is_the_one_in_the_words() -> None:
    asked = parse(GenerateRequest, {"prompt": "lofi piano, 20 seconds", "duration_s": None})
    (plan,) = (each for each in ComposerPlanner().plan(asked, 1, Span()) if isinstance(each, Plan))
    assert plan.music.duration_s == 20
    longer = parse(GenerateRequest, {"prompt": "lofi piano, 20 seconds", "duration_s": 40})
    (plan,) = (each for each in ComposerPlanner().plan(longer, 1, Span(duration_s=40)) if isinstance(each, Plan))
    assert plan.music.duration_s == 40
