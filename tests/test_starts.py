"""What a form may start from: settings on their way, links, examples and ideas, without a browser."""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio.components import Component

from backend import Settings as Machinery
from backend import Studio
from core.drafts import Draft
from core.errors import Cancelled
from core.knobs import AUTO, Knob, parse
from core.params import MODES, UNHEARD
from core.plans import length_from_words, within
from core.tables import Mode
from jobs.desk import Event
from library.records import Record, Track
from library.shares import Shares
from networks.machine import Machine
from planner.composer.styles import names_style, styles
from ui import drafts, settings
from ui.handlers import Handlers
from ui.ideas import examples, idea
from ui.sessions import Then
from ui.settings import LINE, Settings
from ui.starts import Starts
from ui.streams import FROM_A_LINE, followed

NASTY = "lofi <b>rain</b> ${document.title='owned'} {{value}} \u2028 ♯ 雨"


def other_than_default(knob: Knob) -> Any:
    """Some value of the knob that it does not have at first."""
    match knob.kind:
        case "text":
            return NASTY[: int(knob.high or 0)]
        case "flag":
            return not knob.default
        case "choice":
            return next(each for each in knob.choices if each != knob.default)
    assert knob.low is not None and knob.high is not None
    value = knob.high if knob.high != knob.default else knob.low
    return int(value) if knob.kind == "integer" else float(value)


def no_file(value: object) -> None:
    return None


@pytest.fixture
def handlers(tmp_path: Path) -> Handlers:
    return Handlers(Studio(Machinery(checkpoint="nano", machine=Machine(device="cpu"), outputs=tmp_path)), hosted=True)


@pytest.fixture
def starts(handlers: Handlers) -> Starts:
    return Starts(handlers, widgets(), RAIL)


RAIL: Any = "rail"


def widgets() -> dict[tuple[str, str], Component]:
    names: dict[tuple[str, str], Any] = {(mode, name): (mode, name) for mode in MODES for name in settings.fields(mode)}
    return names


def saved(handlers: Handlers, **values: Any) -> Track:
    record = Record(mode="generate", title="rain", checkpoint="nano", seed=7, values={"prompt": "rain", **values})
    return handlers.studio.library.save(np.zeros((2, 48_000), np.float32), None, record)


@pytest.mark.parametrize("mode", MODES)
def test_every_setting_of_a_form_comes_through_a_link_and_nothing_of_this_machine_does(mode: Mode) -> None:
    known = settings.fields(mode)
    values = {name: other_than_default(knob) for name, knob in known.items() if knob.kind != "audio"}
    values |= {name: "/home/somebody/song.wav" for name, knob in known.items() if knob.kind == "audio"}
    values |= {"adapters": "/home/somebody/warm.safetensors = 0.8"} if "adapters" in known else {}
    text = settings.encode(Settings(mode=mode, values=values))
    told = settings.decode(text)
    here = {name for name, knob in known.items() if knob.kind == "audio"} | {"adapters", *UNHEARD}
    assert (told.mode, told.values) == (mode, {name: value for name, value in values.items() if name not in here})
    kept, dropped = settings.checked(mode, told.values, no_file)
    assert dropped == [] and kept.keys() == told.values.keys()
    at_first = settings.encode(Settings(mode=mode, values=settings.defaults(mode)))
    assert settings.decode(at_first).values == {}
    assert len(at_first) < 40


@pytest.mark.parametrize("text", ["", "1.", "2.q1ZKTy1KLUosSVWK1QEA", "1.%%%", "1.AAAA", f"1.{'A' * 500_000}", "1"])
def test_a_link_that_is_cut_or_changed_or_of_another_version_is_told_so(starts: Starts, text: str) -> None:
    with pytest.raises(ValueError, match="^it is"):
        settings.decode(text)
    updates, said, song = starts.answer({"kind": "link", "text": text})
    assert (updates, song) == ({}, None)
    assert said.startswith("The link cannot be read: it is")


def carrying(*parts: object) -> str:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    packed = packer.compress(json.dumps(parts).encode()) + packer.flush()
    return f"1.{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"


def test_a_link_that_would_fill_the_memory_is_not_opened() -> None:
    bomb = carrying("generate", {"prompt": " " * 50_000_000})
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match="^it is cut short"):
        settings.decode(bomb)


def test_what_a_request_would_refuse_is_left_out_and_named_in_one_line(starts: Starts) -> None:
    values = {
        "prompt": NASTY,
        "bpm": 9000,
        "keyscale": "D♭ minor",
        "infer_method": "ode",
        "solver": "pingpong",
        "<img src=x>": 1,
        "seed": True,
        "src_audio": "/etc/passwd",
        "duration_s": None,
    }
    updates, said, song = starts.answer({"kind": "link", "text": carrying("generate", values)})
    told = {name: updates["generate", name] for name in settings.fields("generate") if name not in UNHEARD}
    assert {name: told[name] for name in ("prompt", "keyscale", "duration_s")} == {
        "prompt": NASTY,
        "keyscale": "C# minor",
        "duration_s": None,
    }
    assert (told["bpm"], told["solver"], told["seed"], told["variations"]) == (None, AUTO, None, 1)
    assert updates[RAIL] == "generate"
    assert said == "Left out, for it does not fit this studio: Tempo, Solver, Seed, 2 unknown."
    assert song is None


def test_a_preset_fills_its_form_and_leaves_the_others_and_what_was_kept_fills_all(starts: Starts) -> None:
    updates, said, _ = starts.answer({"kind": "preset", "mode": "lyrics", "values": {"brief": "rain", "tone": "loud"}})
    assert {mode for mode, _ in updates} == {"lyrics"}
    assert updates["lyrics", "brief"] == "rain" and updates["lyrics", "tone"] == AUTO
    assert said == "Left out, for it does not fit this studio: Tone."
    kept = {"lyrics": {"brief": "rain"}, "edit": {"segment_end_s": 3, "src_audio": "/etc/passwd"}, "no mode": {"x": 1}}
    updates, said, _ = starts.answer({"kind": "restore", "modes": kept})
    assert updates == {("lyrics", "brief"): "rain", ("edit", "segment_end_s"): 3}
    anew, _, _ = starts.answer({"kind": "preset", "mode": "generate", "values": {}})
    assert {name for _, name in anew} == settings.fields("generate").keys() - UNHEARD  # who listens goes on listening
    assert starts.answer({"kind": "preset", "mode": "no mode", "values": {}}) == ({}, "", None)
    assert starts.answer({"kind": "example", "number": 99}) == ({}, "", None)


def test_a_song_of_a_hosted_page_is_opened_by_its_link_and_by_nothing_else(handlers: Handlers, starts: Starts) -> None:
    track, other = saved(handlers), saved(handlers)
    told = settings.decode(str(starts.link_of({"id": track.id})))
    assert told.values == {"prompt": "rain", "seed": 7}
    opens, seal = told.song.rpartition(".")[::2]
    assert opens == track.id
    _, said, song = starts.answer({"kind": "link", "text": settings.encode(told)})
    assert (said, song) == ("", track.id)
    forged = Settings(mode="generate", values={"prompt": "rain"}, song=f"{other.id}.{seal}")
    updates, said, song = starts.answer({"kind": "link", "text": settings.encode(forged)})
    assert (song, said) == (None, "The song of the link is no longer here.")
    assert updates["generate", "prompt"] == "rain"
    stranger = handlers.of(gr.Request(session_hash="a stranger"))
    assert starts.of(stranger).link_of({"id": other.id}) is None
    assert stranger.opened(track.id, gr.Request(session_hash="a stranger")) == track
    lent = starts.of(handlers.of(gr.Request(session_hash="a stranger"))).link_of({"id": track.id})
    assert settings.decode(str(lent)).song == ""
    handlers.studio.library.delete(track.id)
    assert starts.answer({"kind": "link", "text": settings.encode(told)})[1:] == (
        "The song of the link is no longer here.",
        None,
    )


def song_of(draft: Event) -> Mapping[str, object]:
    """Ten seconds of what was drafted, with a knob set that means nothing to nano and is disabled in its form."""
    assert isinstance(draft, Draft)
    return {"prompt": draft.music.caption, "duration_s": 10, "inference_steps": 1, "vocal_language": "de"}


def test_a_stop_between_the_draft_and_its_song_stops_the_song(handlers: Handlers) -> None:
    jobs, before = handlers.jobs, len(handlers.library.list())

    def stopped(draft: Event) -> Mapping[str, object]:
        jobs.stop("session")
        return song_of(draft)

    jobs.expect("session", "browser")
    drafted: list[Event] = []
    with pytest.raises(Cancelled):
        then = Then(job=FROM_A_LINE, name="generate", values=stopped)
        drafted.extend(jobs.run("inspire", {"query": "rain"}, "session", then))
    assert not jobs.is_expected("session")
    assert len(handlers.library.list()) == before


def test_whoever_goes_away_while_a_line_is_drafted_finds_the_draft_and_its_song(handlers: Handlers) -> None:
    jobs = handlers.jobs
    jobs.expect("session", "browser")
    gone = jobs.run("inspire", {"query": "rain"}, "session", Then(job=FROM_A_LINE, name="generate", values=song_of))
    next(gone)
    gone.close()
    ticket = jobs.find("browser")
    assert ticket is not None
    *_, (audio, made, draft, line) = followed(jobs, ticket, "another session")
    assert Path(str(audio)).is_file() and draft == gr.skip()
    assert isinstance(made, dict) and str(made["title"]).startswith("rain")
    assert str(line).startswith("saved")


def test_the_secret_of_links_is_one_and_kept(tmp_path: Path) -> None:
    assert Shares(tmp_path).opened("20260101-000000-00000000.seal") is None
    token = Shares(tmp_path).token("20260101-000000-00000000")
    assert Shares(tmp_path).opened(token) == "20260101-000000-00000000"
    assert Shares(tmp_path).opened(f"{token[:-1]}é") is None
    (tmp_path / ".share-key").unlink()
    assert Shares(tmp_path).opened(token) is None


def test_examples_are_songs_that_can_be_asked_for_and_nano_knows_their_styles() -> None:
    assert 5 <= len(examples()) <= 6
    for example in examples():
        values = {name: value for name, value in vars(example).items() if name not in ("name", LINE)}
        parse(MODES[drafts.MODE], values)
        assert names_style(example.prompt) and names_style(example.query)
        assert example.instrumental or within(example.lyrics, example.duration_s) == example.lyrics


def test_ideas_name_a_style_and_differ() -> None:
    rng = random.Random(0)
    ideas = [idea(rng.randrange) for _ in range(20)]
    assert len(set(ideas)) > 15
    assert all(names_style(line) and names_style(prompt) for line, prompt in ideas)
    assert {prompt.split()[1].strip(",") for _, prompt in ideas} <= set(styles())


def test_words_are_cut_to_the_sections_that_a_length_has_room_for() -> None:
    lyrics = "[verse]\none\ntwo\nthree\nfour\n\n[chorus]\nfive\nsix\nseven\neight\n\n[verse]\nnine\nten"
    assert length_from_words(lyrics) == 35
    assert within(lyrics, 35) == lyrics
    assert within(lyrics, 30) == lyrics[: lyrics.index("\n\n[verse]\nnine")]
    assert within(lyrics, 10) == "[verse]\none\ntwo\nthree\nfour"
    assert within("no tags\nat all\n" * 9, 10) == "no tags\nat all\n" * 9
    assert within("", 10) == ""
