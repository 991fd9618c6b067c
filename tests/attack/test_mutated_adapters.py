"""Mutated adapters: each is described or refused as an AdapterError, in a time and a memory that are bounded."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import AdapterError
from networks.acestep.lora.adapter import describe
from tests.attack.mutations import mutated
from tests.test_lora import Q, matrices

FILES = 2_000


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    plain = matrices()
    save_file(plain, folder / "lora.safetensors", {"lora_adapter_metadata": '{"transformer.lora_alpha": 4}'})
    halves = {key: tensor.bfloat16() for key, tensor in plain.items()}
    save_file(halves | {f"{Q}.alpha": torch.tensor(3.0)}, folder / "halves.safetensors")
    names = {"lokr_w1": (4, 4), "lokr_w2_a": (8, 2), "lokr_w2_b": (2, 8)}
    save_file({f"{Q}.{name}": torch.ones(sides) for name, sides in names.items()}, folder / "lokr.safetensors")
    return sorted(folder.iterdir())


def attacked(adapters: list[Path], seeds: range, place: Path) -> Counter[str]:
    answers: Counter[str] = Counter()
    for seed in seeds:
        path = place / "mutant.safetensors"
        path.write_bytes(mutated(adapters[seed % len(adapters)].read_bytes(), seed))
        try:
            assert describe(path).layers, seed
            answers["described"] += 1
        except AdapterError as refused:
            assert refused.message and str(place) not in str(refused), seed
            answers["refused"] += 1
    return answers


def test_a_few_mutated_adapters_are_described_or_refused(adapters: list[Path], tmp_path: Path) -> None:
    answers = attacked(adapters, range(300), tmp_path)
    assert answers["described"] and answers["refused"] and answers.total() == 300


@pytest.mark.slow
def test_two_thousand_mutated_adapters_are_described_or_refused(adapters: list[Path], tmp_path: Path) -> None:
    answers = attacked(adapters, range(FILES), tmp_path)
    sys.stderr.write(f"{dict(answers)}\n")
    assert answers.total() == FILES
