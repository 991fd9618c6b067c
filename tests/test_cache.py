"""Equal keys mean equal samples: what decides a song changes its key, and nothing else does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from core.knobs import to_json
from core.params import GenerateRequest
from core.paths import ROOT
from library.cache import cache_key, code_version, deciding, fingerprint

OURS = [path for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]

RENDERS = """
import sys
from pathlib import Path
from backend import Settings, Studio
from core.knobs import parse
from core.params import GenerateRequest
from networks.machine import Machine

studio = Studio(Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=Path(sys.argv[1])))
list(studio.run(parse(GenerateRequest, {"prompt": "lofi", "duration_s": 10, "inference_steps": 1, "seed": 1})))
studio.close()
root = sys.argv[2]
for module in list(sys.modules.values()):
    if str(getattr(module, "__file__", None)).startswith(root):
        print(module.__file__[len(root) + 1 :])
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The studio's own code, free to be changed."""
    skipped = shutil.ignore_patterns("__pycache__", "data", "*.png")
    for path in OURS:
        if path.is_dir():
            shutil.copytree(path, tmp_path / path.name, ignore=skipped)
        else:
            shutil.copy(path, tmp_path / path.name)
    return tmp_path


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    code_version.cache_clear()


def names(root: Path = ROOT) -> set[str]:
    """The files that decide samples, by their path below the root."""
    return {path.relative_to(root).as_posix() for path in deciding(root)[0]}


def test_a_copy_of_the_code_has_the_same_version_wherever_it_lies(copy: Path) -> None:
    assert code_version(copy) == code_version()


def test_a_changed_sampler_is_another_version_and_a_changed_tooltip_is_not(copy: Path) -> None:
    before = code_version(copy)
    for name, decides in (("networks/lm/sampling.py", True), ("tooltips.py", False), ("planner/lm/new.json", True)):
        path = copy / name
        old = path.read_text() if path.exists() else ""
        path.write_text(f"{old}\n")
        code_version.cache_clear()
        assert (code_version(copy) != before) == decides, name
        path.write_text(old) if old else path.unlink()
    code_version.cache_clear()
    assert code_version(copy) == before


def test_what_makes_samples_decides(copy: Path) -> None:
    data = {"planner/composer/new.toml", "planner/composer/new.json", "planner/lm/words.txt"}
    for name in data:
        (copy / name).touch()
    assert data | {
        *("pipeline.py", "library/audio.py", "library/analysis.py", "core/params.py", "checkpoints/table.py"),
        *("networks/lm/sampling.py", "networks/lm/mlx_model.py", "networks/acestep/sampler.py"),
        *("networks/acestep/torch/dit.py", "networks/acestep/mlx/vae.py", "networks/acestep/lora/adapter.py"),
        *("planner/lm/grammar.py", "planner/lm/prompts.py", "planner/composer/score.py", "planner/__init__.py"),
    } <= names(copy)


def test_what_makes_no_samples_decides_nothing(copy: Path) -> None:
    for name in ("new.json", "planner/composer/notes.md", "lyrics/words.txt"):
        (copy / name).touch()
    rooms = {name.partition("/")[0] for name in names(copy)}
    assert rooms == {path for path in rooms if path.startswith("pipeline")} | {
        *("checkpoints", "core", "jobs", "library", "networks", "planner"),
    }
    assert {name for name in names(copy) if name.startswith("jobs/")} == {"jobs/__init__.py", "jobs/musicgen.py"}
    assert not names(copy) & {
        *("library/tracks.py", "library/cache.py", "checkpoints/download.py", "checkpoints/hub.py", "core/paths.py"),
        *("planner/builtin_drafter.py", "planner/lm/drafter.py", "planner/composer/notes.md"),
    }


@pytest.mark.usefixtures("tiny_nano")
def test_every_module_that_a_song_loads_below_the_jobs_decides(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RENDERS, str(tmp_path / "outputs"), str(ROOT)]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}  # threads that wait for each other on a busy machine take minutes
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, timeout=300, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith(("pipeline", "networks/", "planner/"))}
    assert {"pipeline.py", "networks/acestep/torch/runtime.py", "planner/composer/planner.py"} <= loaded
    # Adapters count by the hashes of their files, which stand in the key.
    assert loaded - names() == {"networks/acestep/lora/presets.py"}


def test_another_version_of_a_framework_is_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before, version = code_version(), metadata.version
    for package, decides in (("torch", True), ("soxr", True), ("gradio", False), ("pytest", False)):
        told = {package: "0"}
        monkeypatch.setattr("library.cache.version", lambda name, told=told: told.get(name) or version(name))
        code_version.cache_clear()
        assert (code_version() != before) == decides, package
    monkeypatch.undo()
    code_version.cache_clear()


def test_equal_requests_have_equal_keys_wherever_their_sources_lie() -> None:
    values = to_json(GenerateRequest(prompt="lofi", seed=7))
    here = cache_key(values | {"src_audio": "/a/x.wav"}, {"src_audio": "1"}, "nano@1")
    there = cache_key({"src_audio": "/b/y.wav"} | values, {"src_audio": "1"}, "nano@1")
    assert here == there


def test_whatever_changes_the_samples_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    values = to_json(GenerateRequest(prompt="lofi", seed=7))
    key = cache_key(values, {"src_audio": "1"}, "nano@1")
    others = [cache_key(values | {name: "changed"}, {"src_audio": "1"}, "nano@1") for name in values]
    others += [cache_key(values, {"src_audio": "2"}, "nano@1"), cache_key(values, {"src_audio": "1"}, "nano@2")]
    monkeypatch.setattr("library.cache.code_version", lambda: "0")
    others.append(cache_key(values, {"src_audio": "1"}, "nano@1"))
    assert len({key, *others}) == len(values) + 4


def test_weights_are_known_by_their_content_and_not_by_their_place(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).normal(size=100_000).astype(np.float32)
    for folder in ("one", "two"):
        (tmp_path / folder / "vae").mkdir(parents=True)
        save_file({"weight": numbers}, tmp_path / folder / "vae" / "model.safetensors")
    first = fingerprint(tmp_path / "one")
    assert first == fingerprint(tmp_path / "two") and len(first) == 16
    save_file({"weight": numbers + 1}, tmp_path / "two" / "vae" / "model.safetensors")
    assert fingerprint(tmp_path / "two") != first
