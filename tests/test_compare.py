"""Songs side by side and what goes on in one: levels, differences, sources, new stretches, words with their times."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from backend import Studio
from core.actions import ACTIONS
from core.knobs import parse
from core.params import GenerateRequest
from core.tables import SAMPLE_RATE
from library import audio, loudness
from library.records import Record, Track
from ui import actions, compare, listen, tracks
from ui.handlers import GONE, Handlers

SECONDS = 3
LYRICS = "[verse]\nstreetlights hum\nthe night is young\n[chorus]\nwe go home"


@pytest.fixture
def handlers(studio: Studio) -> Handlers:
    return Handlers(studio, hosted=False)


def saved(studio: Studio, level: float = 0.1, hz: float = 440, seconds: float = SECONDS, **facts: object) -> Track:
    """A song that is a sine of that level."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sine = (level * np.sin(2 * np.pi * hz * times)).astype(np.float32)
    given = {"mode": "generate", "title": "rain", "checkpoint": "nano", "seed": 7, "values": {"seed": 7}} | facts
    return studio.library.save(np.stack([sine, sine]), None, Record(**given))  # type: ignore[arg-type]


def made_from(
    studio: Studio, source: Track, mode: str, window: tuple[float, float], seconds: float, **values: Any
) -> Track:
    given = {"src_audio": str(source.path.resolve()), **values}
    facts: dict[str, Any] = {"mode": mode, "values": given, "hashes": {"src_audio": source.sha256}}
    return saved(studio, seconds=seconds, window_start_s=window[0], window_end_s=window[1], **facts)


def lanes_of(handlers: Handlers, first: str, second: str) -> list[Any]:
    lanes = compare.Comparer(handlers).pair(first, second)["lanes"]
    assert isinstance(lanes, list)
    return lanes


def test_the_louder_song_is_turned_down_until_both_are_as_loud(studio: Studio, handlers: Handlers) -> None:
    songs = saved(studio, 0.4), saved(studio, 0.1, 1200)
    lanes = lanes_of(handlers, *(song.id for song in songs))
    heard = [
        loudness.measure(audio.load(song.path) * np.float32(10 ** (lane["gain_db"] / 20))).lufs
        for song, lane in zip(songs, lanes, strict=True)
    ]
    assert abs(heard[0] - heard[1]) < 0.1
    assert max(lane["gain_db"] for lane in lanes) == 0
    assert [lane["label"] for lane in lanes] == [tracks.headline(song) for song in songs]


def test_a_song_without_a_loudness_is_played_as_it_is_and_one_that_is_gone_is_told(
    studio: Studio, handlers: Handlers
) -> None:
    silent, song = saved(studio, 0.0), saved(studio)
    assert [lane["gain_db"] for lane in lanes_of(handlers, silent.id, song.id)] == [0, 0]
    for first, second in (("20260101-000000-00000000", song.id), (song.id, "../../etc/passwd")):
        assert compare.Comparer(handlers).pair(first, second) == {"refusal": GONE}


def test_what_differs_between_two_songs_is_told_in_the_words_of_the_form_and_nothing_else(studio: Studio) -> None:
    plain = {"prompt": "rain", "bpm": 90, "guidance_scale": 4.5}
    first = saved(studio, values=plain | {"seed": 7, "use_adg": True})
    second = saved(studio, seed=8, checkpoint="xl-sft", values=plain | {"bpm": None, "seed": 7, "use_adg": False})
    assert sorted(compare.differences(first, second)) == [
        ("Angle-based guidance", "on", "off"),
        ("Checkpoint", "nano", "xl-sft"),
        ("Seed", "7", "8"),
        ("Tempo", "90", "auto"),
    ]
    assert compare.differences(first, first) == []


def test_songs_of_two_modes_differ_in_the_mode_and_in_what_both_have(studio: Studio) -> None:
    song = saved(studio, values={"prompt": "rain", "duration_s": 3})
    cover = made_from(studio, song, "cover", (0, SECONDS), SECONDS, prompt="snow")
    assert compare.differences(song, cover) == [("Mode", "Generate", "Cover"), ("Style prompt", "rain", "snow")]
    other = made_from(studio, saved(studio, hz=300, title="sun"), "cover", (0, SECONDS), SECONDS, prompt="snow")
    [(label, *files)] = compare.differences(cover, other)
    assert label == "Source audio" and files[0] != files[1] and all("/" not in name for name in files)


@pytest.mark.parametrize(
    ("mode", "values", "window", "seconds", "offset_s"),
    [
        ("edit", {"segment_start_s": 1.0, "segment_end_s": 2.5}, (1.0, 2.5), 3.0, 0.0),
        ("extend", {"extra_duration_s": 5.0, "side": "after"}, (2.5, 8.0), 8.0, 0.0),
        ("extend", {"extra_duration_s": 5.0, "side": "before"}, (0.0, 5.5), 8.0, 5.0),
    ],
)
def test_a_source_stands_where_it_lies_in_the_result_as_loud_as_it_was_and_what_is_new_is_marked(
    studio: Studio, handlers: Handlers, mode: str, values: dict[str, Any], window: Any, seconds: float, offset_s: float
) -> None:
    source = saved(studio, 0.4, title="the source")
    track = made_from(studio, source, mode, window, seconds, **values)
    before, after = lanes_of(handlers, "", track.id)
    assert before["label"].startswith("the source")
    assert (before["offset_s"], before["seconds"], before["gain_db"]) == (offset_s, SECONDS, 0)
    assert (after["windows"], after["offset_s"], after["gain_db"]) == ([window], 0, 0)
    assert listen.value(track, [])["windows"] == [window]
    assert compare.shown(track, handlers)["source"] is True


def test_a_cover_is_heard_as_loud_as_its_source_and_is_new_throughout(studio: Studio, handlers: Handlers) -> None:
    source = saved(studio, 0.4)
    cover = made_from(studio, source, "cover", (0, SECONDS), SECONDS)
    before, after = lanes_of(handlers, "", cover.id)
    assert before["gain_db"] == pytest.approx(20 * np.log10(0.1 / 0.4), abs=0.1)
    assert after["gain_db"] == 0 and after["windows"] == []


def test_a_source_is_found_again_by_its_sound_and_missed_where_it_is_gone(studio: Studio, handlers: Handlers) -> None:
    source = saved(studio, 0.4)
    moved = made_from(studio, source, "cover", (0, SECONDS), SECONDS, src_audio="/nowhere/tape.wav")
    assert handlers.source_of(moved) == source.path
    studio.library.delete(source.id)
    assert handlers.source_of(moved) is None
    assert compare.shown(moved, handlers)["source"] is False
    assert compare.Comparer(handlers).pair("", moved.id) == {"refusal": compare.SOURCE_GONE}
    assert compare.shown(saved(studio), handlers)["source"] is False  # made of nothing


def test_a_retake_joins_the_takes_that_are_shown(studio: Studio, handlers: Handlers, tiny_nano: None) -> None:
    values = {"prompt": "rain", "duration_s": 10.0, "inference_steps": 1}
    first, second = saved(studio, values=values), saved(studio, values=values)
    shown = tracks.metadata(first, [second.id, first.id, "20260101-000000-00000000"])
    *_, (_, made, line) = handlers.again(shown, gr.Request())
    assert isinstance(made, dict) and str(line).startswith("saved")
    assert made["takes"] == [second.id, first.id, made["id"]]
    assert len({*made["takes"]}) == 3 and handlers.by_id(made["id"]) is not None
    assert handlers.takes_beside(saved(studio), shown) == [handlers.studio.library.list()[0].id]


def test_words_are_shown_as_they_are_written_until_their_times_are_known(studio: Studio) -> None:
    track = saved(studio, values={"lyrics": LYRICS})
    shown = listen.value(track, [])
    assert shown["told"] == f"Words · {listen.UNTIMED}"
    assert shown["rows"] == [
        (text, is_tag, None, None)
        for text, is_tag in (
            ("verse", True), ("streetlights hum", False), ("the night is young", False), ("chorus", True),
            ("we go home", False),
        )
    ]  # fmt: skip
    assert listen.value(saved(studio, values={"lyrics": "[Instrumental]"}), [])["rows"] == []


def test_the_words_of_a_composed_song_have_times_at_once_and_a_file_of_times_goes_before_them(
    studio: Studio, tiny_nano: None
) -> None:
    values = {"prompt": "folk ballad", "lyrics": LYRICS, "duration_s": 10, "inference_steps": 1, "seed": 7, "bpm": 100}
    *_, track = studio.run(parse(GenerateRequest, values))
    assert isinstance(track, Track)
    shown = listen.value(track, [])
    rows: Any = shown["rows"]
    assert shown["told"] == "Words · exact, from the notes of the song"
    assert [text for text, is_tag, *_ in rows if not is_tag] == [
        "streetlights hum",
        "we go home",
    ]  # what there is room for
    assert [start for *_, start, _ in rows] == sorted(start for *_, start, _ in rows)
    assert rows[0][:2] == ("verse", True)
    *_, made = studio.run(parse(ACTIONS["lrc"], {"track": track.id}))
    later = re.sub(r"\[00:0\d", "[00:09", made.files[0].read_text())  # type: ignore[union-attr]
    made.files[0].write_text(later)  # type: ignore[union-attr]
    timed: Any = listen.value(track, [made])["rows"]  # type: ignore[list-item]
    assert {start >= 9 for *_, start, _ in timed} == {True}


def test_the_stems_that_were_made_last_are_played_in_step_and_nothing_else_is_sent_on(
    studio: Studio, handlers: Handlers
) -> None:
    track, names = saved(studio), ["vocals.wav", "drums.wav", "bass.wav", "other.wav", "stems.zip"]
    for key in ("a" * 64, "b" * 64):
        with studio.library.companions.begun(track.sha256) as folder:
            for name in names:
                (folder / name).write_bytes(key.encode())
            studio.library.companions.keep(folder, "stems", key, facts={}, names=names, notes=[])
    made = studio.library.companions.of(track.sha256)
    lanes: Any = actions.stems_value(made, track)
    assert [lane["name"] for lane in lanes["lanes"]] == ["vocals", "drums", "bass", "other"]
    assert Path(lanes["lanes"][2]["sound"]["path"]) == made[0].files[2]
    assert actions.stem_of(handlers, track.id, "bass") == made[0].files[2]
    for identity, name in ((track.id, "stems.zip"), (track.id, "../../passwd"), ("../x", "bass")):
        assert actions.stem_of(handlers, identity, name) is None
    assert actions.stems_value([], track) is None
