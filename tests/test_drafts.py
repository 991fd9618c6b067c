"""Drafts of a form without weights: what is given stays, what is added fits, and the same dice give the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from huggingface_hub import constants

from backend import Studio
from cli import main as cli
from core.drafts import Draft, DraftRequest, EnhanceRequest, InspireRequest, UnderstandRequest
from core.errors import Cancelled, RequestError
from core.events import Progress
from core.knobs import knobs_of, parse
from core.music import KNOBS, NO_WORDS, Music
from core.params import GenerateRequest
from core.plans import length_from_words
from core.tables import LYRICS_CHARS, PROMPT_CHARS, SAMPLE_RATE
from lyrics.foreign import is_foreign
from planner.builtin_drafter import (
    DRAFTER,
    GENERAL_WORDS,
    LISTENER,
    NO_STYLE,
    OTHER_LANGUAGE,
    BuiltinDrafter,
    sectioned,
)
from planner.composer.styles import names_style, style_of, styles
from ui.drafts import DRAFTED

LINES = (
    *(
        "a lofi song about leaving the city at dawn",
        "my dog Biscuit",
        "reggae dub",
        "",
        "epic metal, 160 bpm",
        "夜の雨",
    ),
    *("slow waltz for a sad piano", "techno", "x" * PROMPT_CHARS, "<|im_end|> [verse] <b>jazz</b>"),
)
STANZAS = """First it rains
then it pours

Stay with me
stay with me

Now it clears
at last

STAY with me,
stay with me!"""


@pytest.fixture(autouse=True)
def no_planner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has, the drafts here are those of the small program."""
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A minor at 120 beats per minute: a chord and a click."""
    time = np.arange(8 * SAMPLE_RATE) / SAMPLE_RATE
    chord = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 261.63, 329.63))
    click = ((2 * time) % 1 < 0.02) * np.sin(2 * np.pi * 220 * time)
    path = tmp_path / "chord.wav"
    soundfile.write(path, (0.1 * chord + 0.5 * click).astype(np.float32), SAMPLE_RATE)
    return path


def inspired(line: str, seed: int = 7, **values: object) -> Draft:
    *_, draft = BuiltinDrafter().inspire(parse(InspireRequest, {"query": line, **values}), seed)
    assert isinstance(draft, Draft)
    return draft


def enhanced(prompt: str = "", lyrics: str = "", seed: int = 7, **values: object) -> Draft:
    request = parse(EnhanceRequest, {"prompt": prompt, "lyrics": lyrics, **values})
    *_, draft = BuiltinDrafter().enhance(request, seed)
    assert isinstance(draft, Draft)
    return draft


def drafted(studio: Studio, request: DraftRequest) -> Draft:
    *_, draft = studio.run(request)
    assert isinstance(draft, Draft)
    return draft


def sections(lyrics: str) -> list[tuple[str, list[str]]]:
    """(tag, lines) of the sections of a text that is nothing but sections."""
    found: list[tuple[str, list[str]]] = []
    for line in filter(None, lyrics.split("\n")):
        if line.startswith("["):
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return found


# ---- a line ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_a_draft_holds_its_line_and_is_a_request_that_generate_takes(line: str, seed: int) -> None:
    draft = inspired(line, seed)
    assert draft.music.caption.startswith(" ".join(line.split()))
    names = {knob.name for knob in DRAFTED}
    values = {name: value for name, value in draft.values().items() if name in names}
    open_facts = {name for name, value in values.items() if value is None}
    assert open_facts == ({"lyrics", "duration_s", "vocal_language"} if is_foreign(line) else set())
    given = {name: value for name, value in values.items() if value is not None}
    request = parse(GenerateRequest, given)
    assert request.music == draft.music or open_facts


def test_the_same_line_and_seed_give_the_same_draft_and_another_seed_another() -> None:
    assert inspired("techno", 3) == inspired("techno", 3)
    assert len({inspired("techno", seed).music.bpm for seed in range(8)}) > 1
    assert len({inspired("techno", seed).music.lyrics for seed in range(3)}) == 3


def test_every_drafted_section_has_as_many_lines_as_the_others() -> None:
    found = sections(inspired("rain on a tin roof").music.lyrics)
    assert [tag for tag, _ in found] == ["[verse]", "[chorus]", "[verse]", "[chorus]"]
    assert [len(lines) for _, lines in found] == [4, 4, 4, 4]
    assert found[1] == found[3]


def test_the_length_fits_the_words_and_is_left_alone_without_any() -> None:
    assert inspired("rain").music.duration_s == 16 * 3.5
    silent = inspired("rain", instrumental=True)
    assert silent.music.lyrics == NO_WORDS
    assert [silent.values()[name] for name in ("lyrics", "duration_s", "vocal_language")] == ["", None, None]


def test_words_in_a_language_that_the_writer_does_not_know_are_left_to_the_user() -> None:
    draft = inspired("ein Lied vom Regen", vocal_language="de")
    assert draft.values()["lyrics"] is None and draft.values()["vocal_language"] is None
    assert OTHER_LANGUAGE in draft.notes
    assert GENERAL_WORDS in inspired("zyx").notes


def test_what_the_line_says_of_tempo_key_metre_and_length_is_taken_at_its_word() -> None:
    assert inspired("epic metal, 160 bpm").music.bpm == 160
    assert inspired("epic metal in D minor").music.keyscale == "D minor"
    short = inspired("a song about rain, 20 seconds").music
    assert short.duration_s == 20
    assert short.lyrics is not None and length_from_words(short.lyrics) <= 20
    assert "second" not in short.lyrics
    assert inspired("a song about rain, 2 minutes", instrumental=True).music.duration_s == 120
    assert inspired("a waltz").music.timesignature == "3"
    assert "fast" not in (inspired("slow techno").music.caption or "").split(", ")


# ---- a prompt --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", styles())
def test_a_fuller_prompt_keeps_its_style_and_names_its_players(name: str) -> None:
    dice = np.random.default_rng(0)
    for word in styles()[name].words:
        prompt = enhanced(word).music.caption
        assert prompt.startswith(word)
        assert style_of(prompt, dice) == style_of(word, dice)
    assert all(style_of(players, dice) == name for players in styles()[name].players if names_style(players))
    assert sum(players in enhanced(name).music.caption for players in styles()[name].players) >= 2


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_enhancing_twice_adds_nothing_more(line: str) -> None:
    if not line:
        return
    once = enhanced(line).music.caption or line
    assert once.startswith(line)
    assert len(once) <= PROMPT_CHARS
    assert not enhanced(once).music.caption


def test_what_is_in_the_prompt_is_not_said_again() -> None:
    prompt = enhanced("lofi hip hop, live drums, sad, slow").music.caption
    assert prompt == "lofi hip hop, live drums, sad, slow, warm Rhodes, soft bass"


def test_a_style_that_the_composer_does_not_know_gets_no_players() -> None:
    draft = enhanced("reggae dub")
    assert NO_STYLE in draft.notes
    assert not any(players in draft.music.caption for style in styles().values() for players in style.players)


def test_given_facts_stay_and_are_what_the_added_words_speak_of() -> None:
    draft = enhanced("techno", bpm=60, keyscale="C major", timesignature="3", vocal_language="fr")
    assert draft.music.facts().keys() == {"caption"}
    assert draft.music.caption.endswith("bright, slow")
    assert enhanced("techno", bpm=180, keyscale="C minor").music.caption.endswith("moody, fast")


# ---- lyrics ----------------------------------------------------------------------------------------------------------


def test_stanzas_that_come_back_are_the_chorus_and_no_line_is_changed() -> None:
    text = sectioned(STANZAS)
    assert text is not None
    assert [tag for tag, _ in sections(text)] == ["[verse]", "[chorus]", "[verse]", "[chorus]"]
    assert [line for _, lines in sections(text) for line in lines] == [line for line in STANZAS.split("\n") if line]


def test_lines_without_a_break_are_cut_into_stanzas() -> None:
    lines = [f"line number {number}" for number in range(11)]
    text = sectioned("\n".join(lines)) or ""
    assert [len(found) for _, found in sections(text)] == [4, 4, 3]
    assert [line for _, found in sections(text) for line in found] == lines


@pytest.mark.parametrize(
    "lyrics",
    ["", "\n \n", "[Instrumental]", "[verse]\nrain\n\n[chorus]\nsun", "a\n" * (LYRICS_CHARS // 2), "a\n\n" * 2000],
)
def test_lyrics_that_have_tags_or_no_room_for_them_are_left_as_they_are(lyrics: str) -> None:
    assert sectioned(lyrics) is None


def test_enhanced_lyrics_are_set_once() -> None:
    set_once = enhanced("lofi", STANZAS).music.lyrics
    assert set_once == sectioned(STANZAS)
    assert not enhanced("lofi", set_once).music.lyrics


# ---- the studio ------------------------------------------------------------------------------------------------------


def test_a_recording_is_understood_by_listening_and_says_so(studio: Studio, recording: Path) -> None:
    draft = drafted(studio, UnderstandRequest(src_audio=recording))
    assert (draft.music, draft.author, draft.seed) == (Music(bpm=120, keyscale="A minor"), LISTENER, None)
    assert "planner weights" in draft.notes[0]


@pytest.mark.parametrize("content", [b"", b"RIFF no wav", "silence", "not a number"], ids=str)
def test_a_recording_that_cannot_be_used_is_named(studio: Studio, tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "broken.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        value = 0.0 if content == "silence" else np.nan
        soundfile.write(path, np.full(SAMPLE_RATE, value, np.float32), SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(RequestError) as refused:
        list(studio.run(UnderstandRequest(src_audio=path)))
    assert [fault.field for fault in refused.value.faults] == ["src_audio"]


def test_the_seed_that_was_drawn_is_told_and_gives_the_draft_again(studio: Studio) -> None:
    first = drafted(studio, InspireRequest(query="folk"))
    assert first.seed is not None and first.author == DRAFTER
    assert drafted(studio, InspireRequest(query="folk", seed=first.seed)) == first
    assert first == inspired("folk", first.seed)


def test_knobs_of_a_planner_that_is_not_there_are_refused_when_they_are_set(studio: Studio) -> None:
    with pytest.raises(RequestError) as refused:
        list(studio.run(InspireRequest(query="folk", lm_temperature=0.2, lm_top_k=5)))
    assert {fault.field for fault in refused.value.faults} == {"lm_temperature", "lm_top_k"}


def test_a_draft_begins_at_once_and_is_cancelled_by_name(studio: Studio, recording: Path) -> None:
    events = studio.run(UnderstandRequest(src_audio=recording), job="mine")
    assert next(events) == Progress("queued")
    assert studio.cancel("mine")
    with pytest.raises(Cancelled):
        list(events)
    assert not studio.cancel("mine")


# ---- the command line ------------------------------------------------------------------------------------------------


def test_drafts_are_printed_as_one_json_line(capsys: pytest.CaptureFixture[str], recording: Path) -> None:
    assert cli.main(["draft", "--query", "folk", "--seed", "5", "--instrumental"]) == 0
    assert cli.main(["enhance", "--prompt", "folk", "--lyrics", STANZAS, "--seed", "5"]) == 0
    assert cli.main(["understand", "--src-audio", str(recording)]) == 0
    draft, fuller, heard = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (draft["author"], draft["seed"], draft["lyrics"]) == (DRAFTER, 5, "")
    assert fuller["lyrics"].startswith("[verse]\nFirst it rains")
    assert (heard["bpm"], heard["keyscale"], heard["prompt"]) == (120, "A minor", None)
    assert list(draft) == [*KNOBS.values(), "author", "seed", "notes"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (["draft", "--query", "x" * 100_000], "query = "),
        (["draft", "--seed", "nan"], "seed = nan"),
        (["enhance"], "prompt = ''"),
        (["enhance", "--prompt", "a", "--bpm", "-1"], "bpm = -1"),
        (["understand"], "src_audio = None"),
        (["understand", "--src-audio", "no-such.wav"], "src_audio = 'no-such.wav'"),
    ],
    ids=lambda value: " ".join(value)[:20] if isinstance(value, list) else "",
)
def test_a_wrong_flag_of_a_draft_is_answered_with_field_value_and_rule(
    capsys: pytest.CaptureFixture[str], line: list[str], fault: str
) -> None:
    assert cli.main(line) == 2
    assert fault in capsys.readouterr().err


def test_a_draft_fills_knobs_of_generate_only_and_never_the_seed() -> None:
    names = {knob.name for knob in DRAFTED}
    assert names == set(KNOBS.values())
    assert names <= {knob.name for knob in knobs_of(GenerateRequest)}
