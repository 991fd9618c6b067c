"""What songs are called, with words and without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend import Studio
from core.knobs import parse
from core.music import Music
from core.params import MODES, SONG_MODES
from core.plans import Plan
from core.tables import Mode
from jobs.titles import TITLE_CHARS, title_of
from library import audio
from library.records import Track

PLAN = Plan(music=Music(caption="A slow waltz\nwith strings", duration_s=10))
WORDS = "[Verse 1]\n\n  Rain on the roof \nand me"


def title(mode: str, source: str = "", **values: object) -> str:
    needed = {} if mode == "generate" else {"src_audio": "a.wav"}
    return title_of(parse(SONG_MODES[mode], {**needed, **values}), PLAN, source)  # type: ignore[index]


def test_words_name_a_song_and_without_any_its_source_or_its_plan() -> None:
    assert title("generate", prompt=" lofi <b>\nrain", lyrics=WORDS) == "lofi <b>"
    assert title("generate", lyrics=WORDS) == "Rain on the roof"
    assert title("generate", lyrics=WORDS, instrumental=True) == "A slow waltz"
    assert title("generate", lyrics="[verse]\n[chorus]") == "A slow waltz"
    assert title("cover", "Blue", lyrics=WORDS) == "cover of Blue"
    assert title("cover", "Blue", prompt="jazz") == "jazz"
    assert title("extend", "Blue") == "more of Blue"
    assert title("edit", "edit of Blue") == "edit of Blue"
    assert title("edit", "more of Blue") == "edit of more of Blue"


def test_a_title_is_one_short_line_that_can_be_shown_anywhere() -> None:
    assert title("generate", prompt="a\tb\x1b[31m  c \u202egnp.exe") == "a b [31m c gnp.exe"
    family = "👨\u200d👩\u200d👧 می\u200cخواهم"
    assert title("generate", prompt=family) == family
    long = title("cover", "word " * 40)
    assert len(long) <= TITLE_CHARS and long.startswith("cover of word") and long.endswith("…")


@pytest.mark.usefixtures("tiny_nano")
def test_a_song_of_a_source_bears_its_title_or_the_name_of_its_file(studio: Studio, tmp_path: Path) -> None:
    noise = (0.1 * np.random.default_rng(1).standard_normal((2, 48_000 * 3))).astype(np.float32)
    upload = tmp_path / "my_old demo.wav"
    audio.save_wav(upload, noise)

    def made(mode: Mode, **values: object) -> Track:
        request = parse(MODES[mode], {"seed": 1, "inference_steps": 1, **values})
        return next(event for event in studio.run(request) if isinstance(event, Track))

    cover = made("cover", src_audio=upload)
    assert cover.title == "cover of my old demo"
    copy = tmp_path / "0f3a.wav"
    copy.write_bytes(cover.path.read_bytes())
    edit = made("edit", src_audio=copy, segment_end_s=1)
    assert edit.title == "edit of cover of my old demo"
