"""Weights of a language model in every spelling that is published: both frameworks load them as the same model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from core.errors import CheckpointError
from networks.lm.model import open_language_model
from networks.machine import RUNTIMES, RuntimeName
from tests.tiny_lm import save_lm

pytestmark = pytest.mark.usefixtures("one_thread")

Logits = NDArray[np.float32]
PROMPTS = ([5, 9, 300, 42, 7, 7, 31, 8, 90, 14], [77, 12])
LOGIT = 1e-4
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def logits_of(folder: Path, runtime: RuntimeName) -> Logits:
    model = open_language_model(folder, runtime=runtime, dtype="float32", device="cpu" if runtime == "torch" else None)
    session = model.start(PROMPTS)
    logits = session.logits()
    session.close()
    model.close()
    return logits


def rewritten(
    source: Path,
    folder: Path,
    *,
    prefixed: bool = True,
    head: NDArray[np.float32] | None = None,
    says_tied: bool | None = None,
    metadata: bool = True,
    shards: int = 1,
) -> Path:
    """The model again: other keys, a head of its own, other words about it or none, in one file or several."""
    shutil.copytree(source, folder)
    weights: dict[str, NDArray[np.float32]] = load_file(source / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if head is not None:
        weights[HEAD] = head
    if not prefixed:
        weights = {key.removeprefix("model."): value for key, value in weights.items()}
    config = json.loads((folder / "config.json").read_text())
    config.pop("tie_word_embeddings", None)
    if says_tied is not None:
        config["tie_word_embeddings"] = says_tied
    (folder / "config.json").write_text(json.dumps(config))
    described = {"format": "pt"} if metadata else None
    if shards == 1:
        save_file(weights, folder / "model.safetensors", described)
        return folder
    places = {key: f"model-{index % shards + 1:05}-of-{shards:05}.safetensors" for index, key in enumerate(weights)}
    for name in set(places.values()):
        save_file({key: weights[key] for key in weights if places[key] == name}, folder / name, described)
    index_ = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index_))
    return folder


@pytest.fixture(scope="module", params=[("qwen3", True), ("qwen2", False)], ids=["qwen3 tied", "qwen2 untied"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family, tied = request.param
    return save_lm(tmp_path_factory.mktemp("lm") / "source", family=family, tied=tied, codes=20)


@pytest.fixture(scope="module")
def usual(source: Path) -> Logits:
    return logits_of(source, "torch")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "spelling",
    [
        {"prefixed": False},
        {"prefixed": False, "shards": 2, "metadata": False},
        {"shards": 2},
        {"metadata": False},
    ],
    ids=str,
)
def test_names_and_files_do_not_change_the_model(
    tmp_path: Path, source: Path, usual: Logits, runtime: RuntimeName, spelling: dict[str, Any]
) -> None:
    """Nor does it matter here that nothing is said of the head: the files tell whether it is tied."""
    np.testing.assert_allclose(logits_of(rewritten(source, tmp_path / "m", **spelling), runtime), usual, atol=LOGIT)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("says_tied", [True, None])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_head_that_is_stored_counts_whatever_is_said_of_it(
    tmp_path: Path, runtime: RuntimeName, says_tied: bool | None, sign: int
) -> None:
    source = save_lm(tmp_path / "source", codes=20)
    embedding = load_file(source / "model.safetensors")[EMBEDDING]
    folder = rewritten(source, tmp_path / "m", head=sign * embedding, says_tied=says_tied)
    np.testing.assert_allclose(logits_of(folder, runtime), sign * logits_of(source, "torch"), atol=LOGIT)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_head_that_is_said_to_be_there_and_is_not_is_missed(tmp_path: Path, runtime: RuntimeName) -> None:
    folder = rewritten(save_lm(tmp_path / "source", codes=20), tmp_path / "m", says_tied=False)
    with pytest.raises(CheckpointError):
        open_language_model(folder, runtime=runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_another_family_is_named(tmp_path: Path, runtime: RuntimeName) -> None:
    folder = save_lm(tmp_path / "m", codes=10)
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "llama"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="m is a llama"):
        open_language_model(folder, runtime=runtime)
