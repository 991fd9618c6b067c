"""What lies on the disk is looked at before it is served or used: a cut or swapped wav, latents of another song."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file, save_file

from backend import Studio
from core.actions import ACTIONS
from core.errors import RequestError
from core.knobs import parse
from core.params import MODES, GenerateRequest
from core.requests import Request
from library.records import Track

pytestmark = pytest.mark.usefixtures("tiny_nano")

QUICK: dict[str, object] = {"prompt": "lofi hip hop", "duration_s": 10, "inference_steps": 1, "seed": 3}


def made_by(studio: Studio, request: Request) -> list[Track]:
    return [event for event in studio.run(request) if isinstance(event, Track)]


def generated(studio: Studio, **values: object) -> list[Track]:
    return made_by(studio, parse(GenerateRequest, {**QUICK, **values}))


def cut(track: Track, other: Track) -> None:
    track.path.write_bytes(track.path.read_bytes()[:100_000])


def swapped(track: Track, other: Track) -> None:
    shutil.copyfile(other.path, track.path)


def flipped(track: Track, other: Track) -> None:
    content = bytearray(track.path.read_bytes())
    content[len(content) // 2] ^= 1
    track.path.write_bytes(content)


def test_a_damaged_song_is_made_anew_and_told_and_kept(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    (other,) = generated(studio)
    for seed, damage in enumerate((cut, swapped, flipped), start=4):
        (song,) = generated(studio, seed=seed)
        assert studio.library.is_whole(song)  # and known as that from now on
        sound = song.path.read_bytes()
        damage(song, other)
        (anew,) = generated(studio, seed=seed)
        assert anew.id != song.id and anew.path.read_bytes() == sound
        assert anew.notes[0] == f"made anew: the audio of {song.id} is not what was saved"
        assert song.path.is_file() and song.sidecar.is_file()
        assert generated(studio, seed=seed) == [anew]
        with pytest.raises(RequestError, match=f"track = '{song.id}': must be a song whose audio is what was saved"):
            list(studio.run(parse(ACTIONS["normalise"], {"track": song.id})))
        told = [line for line in caplog.messages if song.id in line]
        assert told == [f"audio of track {song.id} is not what was saved: it is not served any more"]


def test_of_several_takes_the_whole_ones_are_found_and_an_older_one_serves_for_a_damaged(studio: Studio) -> None:
    first, second = generated(studio, variations=2)
    library = studio.library
    assert library.whole(first.key) == ((first, second), ())
    second.path.write_bytes(b"RIFF")
    assert library.whole(first.key) == ((first,), (second,))
    anew = generated(studio, variations=2)
    assert [track.take for track in anew] == [0, 1]
    anew[1].path.unlink()
    assert library.whole(first.key).whole == (anew[0],)


def rows(track: Track) -> Any:
    return load_file(track.latents_path)["latents"]


def rewritten(change: Callable[[Any], Any]) -> Callable[[Track, Track], None]:
    """Latents as an older studio wrote them, which name no song, changed."""
    return lambda track, other: save_file({"latents": change(rows(track))}, track.latents_path)


def of_another(track: Track, other: Track) -> None:
    shutil.copyfile(other.latents_path, track.latents_path)


def without_gain(track: Track, other: Track) -> None:
    told = json.loads(track.sidecar.read_text())
    track.sidecar.write_text(json.dumps(told | {"gain": 0.0}))


def one_number(track: Track, other: Track) -> None:
    content = bytearray(track.latents_path.read_bytes())
    content[-1] ^= 1
    track.latents_path.write_bytes(content)


SPOILT: Mapping[str, Callable[[Track, Track], object]] = {
    "they belong to another song": of_another,
    "their shape is (247, 4), the song's (250, 4)": rewritten(lambda latents: latents[:-3]),
    "their shape is (250, 2), the song's (250, 4)": rewritten(lambda latents: latents[:, :2].copy()),
    "they are float32 of shape (250, 4), not": rewritten(lambda latents: latents.astype(np.float32)),
    "they are float16 of shape (1, 250, 4), not": rewritten(lambda latents: latents[None].copy()),
    "some of their numbers are not finite": rewritten(lambda latents: latents * np.float16(np.inf)),
    "their numbers are not those that were saved": one_number,
    "they cannot be read": lambda track, other: track.latents_path.write_bytes(b"no safetensors"),
    "the song is said to be 0 times what they decode to": without_gain,
}


def test_latents_that_are_not_the_songs_are_left_aside_and_told(studio: Studio) -> None:
    (song,), (other,) = generated(studio), generated(studio, seed=4)
    good = song.latents_path.read_bytes()
    for seed, (why, spoil) in enumerate(SPOILT.items()):
        song.latents_path.write_bytes(good)
        spoil(song, other)
        (edited,) = edit_of(studio, song, seed)
        assert f"the latents kept beside {song.id} were left aside: {why}" in edited.notes[0]
        first_s = soundfile.read(song.path, dtype="int32")[0][:48_000]
        assert np.array_equal(soundfile.read(edited.path, dtype="int32")[0][:48_000], first_s)


def test_latents_of_an_older_studio_that_fit_are_used(studio: Studio) -> None:
    (song,) = generated(studio)
    rewritten(lambda latents: latents)(song, song)
    assert studio.library.latents(song).fault == ""
    (edited,) = edit_of(studio, song, 0)
    assert not any("latents" in note for note in edited.notes)


def edit_of(studio: Studio, song: Track, seed: int) -> list[Track]:
    values = {
        "src_audio": str(song.path),
        "segment_start_s": 2.0,
        "segment_end_s": 6.0,
        "prompt": "drums",
        "seed": seed,
    }
    return made_by(studio, parse(MODES["edit"], values | {"inference_steps": 1}))
