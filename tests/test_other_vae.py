"""A VAE in the place of the checkpoint's own: heard, told, kept apart, and refused where it does not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from backend import Settings, Studio
from checkpoints import find
from core.errors import CheckpointError
from core.knobs import parse
from core.params import GenerateRequest
from library.records import Track
from networks.acestep.open import open_runtime
from networks.machine import RUNTIMES, Machine, RuntimeName
from tests.tiny import SLOW, save_tiny

ASKED = {"prompt": "folk", "duration_s": 10, "seed": 3, "thinking": False, "inference_steps": 1}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a song's checkpoint, and a VAE of the same build, louder, its last kernel reversed."""
    home = tmp_path_factory.mktemp("weights")
    save_tiny(home / "models" / "xl-turbo", ratios=SLOW)
    shutil.copytree(home / "models" / "xl-turbo" / "vae", home / "louder")
    (file,) = (home / "louder").glob("*.safetensors")
    tensors = load_file(file)
    last = "decoder.conv2.weight"
    tensors |= {f"{last}_g": 2 * tensors[f"{last}_g"], f"{last}_v": tensors[f"{last}_v"].flip(-1).contiguous()}
    save_file(tensors, file)
    return home


@pytest.fixture
def studio(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    monkeypatch.setenv("ACE_MODELS_DIR", str(weights / "models"))
    machine = Machine(device="cpu", dtype="float32")
    with closing(Studio(Settings(checkpoint="xl-turbo", machine=machine, outputs=tmp_path))) as made:
        yield made


def song_of(studio: Studio, request: GenerateRequest) -> Track:
    return next(event for event in studio.run(request) if isinstance(event, Track))


def test_a_song_sounds_by_the_other_vae_says_so_and_is_another_song(
    studio: Studio, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = parse(GenerateRequest, ASKED)
    own = song_of(studio, request)
    monkeypatch.setenv("ACE_VAE_DIR", str(weights / "louder"))
    other = song_of(studio, request)
    assert (other.key, other.vae) != (own.key, own.vae) and other.vae != own.vae
    assert "with the VAE in louder, not the checkpoint's own" in other.notes
    assert not any("VAE" in note for note in own.notes)
    assert not np.array_equal(soundfile.read(other.path)[0], soundfile.read(own.path)[0])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_both_runtimes_decode_with_it(weights: Path, runtime: RuntimeName) -> None:
    folder, latents = weights / "models" / "xl-turbo", torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(0))
    loud, quiet = (
        open_runtime(folder, vae=vae, runtime=runtime, device="cpu", dtype="float32").decode(latents)
        for vae in (weights / "louder", None)
    )
    assert float(loud.abs().max()) > 1.5 * float(quiet.abs().max()) > 0


def test_a_vae_that_is_built_otherwise_is_refused_with_what_differs(
    studio: Studio, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(weights / "louder", odd)
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps(config | {"decoder_channels": 77}))
    monkeypatch.setenv("ACE_VAE_DIR", str(odd))
    with pytest.raises(CheckpointError, match=r"is not built as that of .*: decoder_channels\..* unset ACE_VAE_DIR"):
        song_of(studio, parse(GenerateRequest, ASKED))
    assert not studio.loaded
    monkeypatch.setenv("ACE_VAE_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError):
        find.checkpoint("xl-turbo")
