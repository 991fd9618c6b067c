"""What cannot work is refused before anything is done for it, in words that name no place on the disk."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend import Studio
from core.actions import ACTIONS
from core.errors import AdapterError, RequestError, StudioError
from core.events import Progress
from core.knobs import parse
from core.params import GenerateRequest
from library import audio
from library.records import Track
from networks.acestep import sampler
from networks.acestep.lora.adapter import describe
from tests.test_lora import Q, matrices, saved
from ui import streams
from ui.adapters import add_files

pytestmark = pytest.mark.usefixtures("tiny_nano")

QUICK: dict[str, object] = {"prompt": "lofi hip hop", "duration_s": 10, "inference_steps": 1, "seed": 3}


@pytest.mark.parametrize(
    ("plan", "rule"),
    [
        ("<think>", "must close <think> by </think>"),
        ("<think>\nbpm: 92", "must close <think> by </think>"),
        ("<think>\n</think>", "must say something between"),
        ("bpm: 92\nbpm: 93", "must have one line bpm, not two"),
        ("caption: a\nbpm: 92\ncaption: b", "must have one line caption, not two"),
    ],
)
def test_half_a_plan_and_a_doubled_line_are_refused(plan: str, rule: str) -> None:
    with pytest.raises(RequestError, match=rf"plan = .*: {rule}"):
        parse(GenerateRequest, {**QUICK, "plan": plan})


@pytest.mark.parametrize(
    ("value", "dtype", "why"),
    [
        (1e30, torch.float32, r"holds numbers as large as 1e\+30"),
        (1e30, torch.bfloat16, r"holds numbers as large as 1e\+30"),
        (np.nan, torch.float16, "holds numbers that are not finite"),
        (np.nan, torch.bfloat16, "holds numbers that are not finite"),
        (-np.inf, torch.float64, "holds numbers that are not finite"),
    ],
)
def test_an_adapter_with_numbers_that_no_training_leaves_is_not_added(
    tmp_path: Path, value: float, dtype: torch.dtype, why: str
) -> None:
    tensors = {key: tensor.to(dtype) for key, tensor in matrices().items()}
    tensors[f"{Q}.lora_A.weight"].view(-1)[-1] = value
    path = saved(tmp_path / "bad.safetensors", tensors)
    with pytest.raises(AdapterError, match=f"bad.safetensors {why} in {Q}"):
        describe(path)
    listed, line = add_files("", [str(path)])
    assert listed == "" and line.startswith("Not added: bad.safetensors holds numbers")


def test_an_adapter_with_a_factor_of_1e30_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "loud.safetensors", matrices() | {f"{Q}.alpha": torch.tensor(1e30)})
    with pytest.raises(AdapterError, match=r"gives .* the factor 5e\+29"):
        describe(path)


def test_an_adapter_that_fits_no_checkpoint_here_is_not_added(tmp_path: Path) -> None:
    fits = saved(tmp_path / "fits.safetensors", matrices())
    wide = saved(tmp_path / "wide.safetensors", matrices(sides=(64, 32)))
    stray = saved(tmp_path / "stray.safetensors", matrices(module="layers.77.self_attn.q_proj"))
    assert add_files("", [str(fits)])[1].startswith("Added fits.safetensors")
    assert "made for a model of another size" in add_files("", [str(wide)])[1]
    assert "for modules that this model does not have" in add_files("", [str(stray)])[1]


def test_numbers_that_leave_their_format_end_the_song_in_words(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = sampler.draw_noise
    monkeypatch.setattr(sampler, "draw_noise", lambda *parts: noise(*parts) * torch.inf)
    with pytest.raises(StudioError, match="numbers left their format"):
        list(studio.run(parse(GenerateRequest, QUICK)))
    monkeypatch.undo()
    assert isinstance(list(studio.run(parse(GenerateRequest, QUICK)))[-1], Track)


def test_a_full_disk_is_told_before_anything_is_loaded(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5_000_000))
    with pytest.raises(StudioError, match="no room: what is asked for takes 6 MB, and 5 MB are free"):
        list(studio.run(parse(GenerateRequest, {**QUICK, "variations": 2})))
    assert studio.loaded == frozenset()
    *_, song = studio.run(parse(GenerateRequest, QUICK))
    assert isinstance(song, Track)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    for name in ("stems", "normalise", "export"):
        with pytest.raises(StudioError, match="no room|not installed"):
            list(studio.run(parse(ACTIONS[name], {"track": song.id})))


def failing(count: int) -> Callable[..., None]:
    """A `save_wav` whose disk is full at that call."""
    calls, save = iter(range(1, 100)), audio.save_wav

    def saving(path: Path, *parts: Any) -> None:
        if next(calls) == count:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(path, *parts)

    return saving


def test_of_four_takes_one_that_was_not_saved_loses_no_other(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "save_wav", failing(2))
    events = list(studio.run(parse(GenerateRequest, {**QUICK, "variations": 4})))
    lost = "take 2 of 4 is lost: The song could not be saved: No space left on device."
    assert [event.take for event in events if isinstance(event, Track)] == [0, 2, 3]
    assert events[-1] == Progress("saving", note=lost)
    *_, last = streams.SONG.results(events)
    assert str(last[-1]).endswith(f"· {lost}")
    assert len(list(studio.library.root.glob("*.json"))) == 3


def test_a_song_that_cannot_be_saved_names_no_place(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "save_wav", failing(1))
    with pytest.raises(StudioError) as refused:
        list(studio.run(parse(GenerateRequest, QUICK)))
    assert str(refused.value) == (
        "The song could not be saved: No space left on device. Make room or choose another folder."
    )
    assert not [path for path in studio.library.root.iterdir() if path.suffix in (".wav", ".safetensors", ".part")]
