"""Adapters in songs: what a request names is heard, told and remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from backend import Settings, Studio
from checkpoints import find
from core.errors import RequestError
from core.events import Progress
from core.files import sha256
from core.knobs import parse
from core.params import GenerateRequest
from library.records import Track
from networks.acestep.lora.adapter import linear_shapes
from networks.machine import Machine

pytestmark = pytest.mark.usefixtures("tiny_nano")

QUICK: dict[str, object] = {"prompt": "lofi hip hop", "duration_s": 10, "inference_steps": 1, "seed": 3}


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = Studio(Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=tmp_path_factory.mktemp("songs")))
    yield made
    made.close()


def adapter(path: Path, seed: int = 0) -> Path:
    """A LoRA of rank 2 for every layer of nano's DiT, loud enough to change the song."""
    dice = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (high, wide) in linear_shapes(find.checkpoint("nano").folder).items():
        tensors[f"lora_unet_{name}.lora_down.weight"] = 0.2 * torch.randn(2, wide, generator=dice)
        tensors[f"lora_unet_{name}.lora_up.weight"] = 0.2 * torch.randn(high, 2, generator=dice)
    save_file(tensors, path)
    return path


def song(studio: Studio, adapters: str = "", **options: bool) -> Track:
    (made,) = (event for event in events_of(studio, adapters, **options) if isinstance(event, Track))
    return made


def events_of(studio: Studio, adapters: str, **options: bool) -> list[object]:
    return list(studio.run(parse(GenerateRequest, {**QUICK, "adapters": adapters}), **options))  # type: ignore[arg-type]


def samples_of(track: Track) -> NDArray[np.int32]:
    samples: NDArray[np.int32] = soundfile.read(track.path, dtype="int32", always_2d=True)[0]
    return samples


def test_an_adapter_changes_a_song_at_weight_zero_it_does_not_and_it_is_gone_with_its_job(
    studio: Studio, tmp_path: Path
) -> None:
    warm = adapter(tmp_path / "warm.safetensors")
    base, changed, silent = song(studio), song(studio, str(warm)), song(studio, f"{warm} = 0")
    again = song(studio, fresh=True)
    assert not np.array_equal(samples_of(changed), samples_of(base))
    assert np.array_equal(samples_of(silent), samples_of(base))
    assert np.array_equal(samples_of(again), samples_of(base))


def test_a_track_and_its_progress_tell_what_was_applied(studio: Studio, tmp_path: Path) -> None:
    warm, cold = adapter(tmp_path / "warm.safetensors", 1), adapter(tmp_path / "cold.safetensors", 2)
    events = events_of(studio, f"{warm} = 0.5\n{cold}")
    (track,) = (event for event in events if isinstance(event, Track))
    told = studio.library.get(track.id).adapters
    assert list(told) == [sha256(warm), sha256(cold)]
    first = told[sha256(warm)]
    told_first = tuple(first[fact] for fact in ("file", "weight", "kind", "form", "rank"))
    assert told_first == ("warm.safetensors", 0.5, "kohya", "LoRA", 2)
    assert first["modules"] == len(linear_shapes(find.checkpoint("nano").folder))
    notes = [str(event) for event in events if isinstance(event, Progress) and event.stage == "conditioning"]
    assert "warm.safetensors at 0.5" in notes[0]
    assert "cold.safetensors at 1 (LoRA, rank 2" in notes[0]


def test_a_stored_song_is_returned_only_while_the_file_is_the_same(studio: Studio, tmp_path: Path) -> None:
    warm = adapter(tmp_path / "warm.safetensors", 1)
    first = song(studio, str(warm))
    assert song(studio, str(warm)).id == first.id
    moved = warm.rename(tmp_path / "moved.safetensors")
    assert song(studio, str(moved)).id == first.id
    assert song(studio, f"{moved} = 0.9").id != first.id
    adapter(moved, 5)
    assert song(studio, str(moved)).id != first.id


@pytest.mark.parametrize(
    ("adapters", "rule"),
    [("nowhere", "is not there"), ("{} = 1.6", "a weight from 0 to 1.5"), ("{}, {}", "name each adapter once")],
)
def test_wrong_adapters_are_answered_with_field_value_and_rule_before_anything_loads(
    tmp_path: Path, adapters: str, rule: str
) -> None:
    fresh = Studio(Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=tmp_path / "songs"))
    text = adapters.replace("{}", str(adapter(tmp_path / "warm.safetensors")))
    with pytest.raises(RequestError) as refused:
        song(fresh, text)
    (fault,) = refused.value.faults
    assert (fault.field, fault.value) == ("adapters", text)
    assert rule in fault.rule
    assert not fresh.loaded
    assert not (tmp_path / "songs").exists()


def test_where_strangers_ask_only_presets_and_uploads_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACE_ADAPTERS_DIR", str(tmp_path))
    secret = adapter(tmp_path.parent / "secret.safetensors")
    shared = Studio(
        Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=tmp_path / "songs", adapter_homes=())
    )
    with pytest.raises(RequestError, match="preset or an uploaded file"):
        song(shared, str(secret))
    adapter(tmp_path / "warm.safetensors")
    assert len(song(shared, "warm").adapters) == 1
