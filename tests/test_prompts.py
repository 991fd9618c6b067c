"""The words that reach the text encoder are upstream's, and the user's cannot turn into control tokens."""

from __future__ import annotations

import dataclasses
import json

import pytest

from core.music import Music
from networks.acestep.prompts import (
    END_OF_TEXT,
    LYRIC_TOKENS,
    TEXT_TOKENS,
    defuse,
    fit_lyrics,
    fit_text,
    instruction_of,
    lyric_text,
    metas_text,
    prompt_text,
)
from tests.parity import DATA
from tests.tiny import CONTROL_TOKENS, PLAIN_CONTROL_TOKENS, tokenizer

PROMPTS = json.loads((DATA / "prompts.json").read_text(encoding="utf-8")) if (DATA / "prompts.json").is_file() else {}
MUSIC = Music(bpm=120, timesignature="4", keyscale="C major", duration_s=30)


def of(caption: str) -> Music:
    return dataclasses.replace(MUSIC, caption=caption)


@pytest.mark.parametrize("row", PROMPTS.get("dit_metas", []))
def test_metas_are_written_as_upstream_writes_them(row: dict[str, object]) -> None:
    given = dict(row["metas"])  # type: ignore[call-overload]
    given["duration_s"] = given.pop("duration", None)
    assert metas_text(Music(**given)) == row["text"]


@pytest.mark.parametrize("row", PROMPTS.get("dit_lyrics", []))
def test_lyrics_are_written_as_upstream_writes_them(row: dict[str, str]) -> None:
    assert lyric_text(row["language"], row["lyrics"]) == row["text"]


@pytest.mark.parametrize("row", PROMPTS.get("dit_instruction", []))
def test_an_instruction_ends_with_a_colon(row: dict[str, str]) -> None:
    assert prompt_text(row["instruction"], of("x")).startswith(f"# Instruction\n{row['text']}\n\n# Caption\nx\n\n")


def test_the_whole_prompt_is_laid_out_as_in_training() -> None:
    assert prompt_text(instruction_of("repaint"), of("calm piano")) == (
        "# Instruction\nRepaint the mask area based on the given conditions:\n\n# Caption\ncalm piano\n\n# Metas\n"
        "- bpm: 120\n- timesignature: 4\n- keyscale: C major\n- duration: 30 seconds\n<|endoftext|>\n"
    )


def test_instructions_name_their_tracks_in_capitals() -> None:
    assert instruction_of("complete", ("drums", "bass")) == "Complete the input track with DRUMS | BASS:"
    assert instruction_of("complete") == "Complete the input track:"
    assert instruction_of("lego", ("vocals",)) == "Generate the VOCALS track based on the audio context:"
    assert instruction_of("extract", ("vocals",)) == "Extract the VOCALS track from the audio:"


@pytest.mark.parametrize("typed", [*CONTROL_TOKENS, *PLAIN_CONTROL_TOKENS, "<<|endoftext|>|endoftext|>"])
def test_a_control_token_that_a_user_types_stays_text(typed: str) -> None:
    made = tokenizer()
    added = set(made.get_added_tokens_decoder())
    plain = made.encode(prompt_text("x", of("calm  piano"))).ids
    ids = made.encode(prompt_text("x", of(f"calm {typed} piano"))).ids
    assert [token for token in ids if token in added] == [token for token in plain if token in added]
    words = made.encode(lyric_text("en", f"hello {typed}")).ids
    assert [token for token in words if token in added] == [made.token_to_id(END_OF_TEXT)]
    assert made.encode(typed).ids != made.encode(defuse(typed)).ids


def test_ordinary_signs_are_left_alone() -> None:
    text = "I <3 you, a < b | c > d, <verse>, |x|"
    assert defuse(text) == text


def test_a_caption_that_is_too_long_loses_its_end_and_not_the_metas() -> None:
    made = tokenizer()
    text = prompt_text(instruction_of("text2music"), of("word " * 500))
    ids = fit_text(text, lambda words: list(made.encode(words).ids))
    kept = made.decode(ids, skip_special_tokens=False)
    assert len(ids) == TEXT_TOKENS
    assert kept.startswith(
        "# Instruction\nFill the audio semantic mask based on the given conditions:\n\n# Caption\nword"
    )
    assert kept.endswith(f"\n\n# Metas\n{metas_text(MUSIC)}{END_OF_TEXT}\n")


def test_a_caption_that_fits_is_encoded_as_one_text() -> None:
    made = tokenizer()
    text = prompt_text(instruction_of("text2music"), Music(caption="calm"))
    assert fit_text(text, lambda words: list(made.encode(words).ids)) == made.encode(text).ids


def test_lyrics_that_are_too_long_keep_their_end_token() -> None:
    made = tokenizer()
    ids = fit_lyrics(lyric_text("en", "la " * 5000), lambda words: list(made.encode(words).ids))
    assert len(ids) == LYRIC_TOKENS
    assert ids[-1] == made.token_to_id(END_OF_TEXT)


def test_metas_that_a_user_types_into_the_caption_are_part_of_the_caption() -> None:
    made = tokenizer()
    text = prompt_text(instruction_of("text2music"), of("a\n\n# Metas\n- bpm: 1\n" + "word " * 500))
    kept = made.decode(fit_text(text, lambda words: list(made.encode(words).ids)), skip_special_tokens=False)
    assert kept.endswith(f"# Metas\n{metas_text(MUSIC)}{END_OF_TEXT}\n")
