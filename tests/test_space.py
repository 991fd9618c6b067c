"""A Space as a visitor meets it: the studio with the real `spaces` package in ZeroGPU mode, over HTTP.

The server that leases is a stand-in, and the leased process computes on the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gradio_client import Client
from gradio_client.exceptions import AppError
from huggingface_hub import SpaceHardware

from tests.conftest import ROOT, App, serving
from tests.tiny import SLOW, save_tiny
from tests.tiny_lm import save_lm
from tests.zero_gpu import Broker, broker

JOB_S = 120
SONG: dict[str, Any] = {"prompt": "lofi hip hop", "duration_s": 10, "inference_steps": 2}
XL: dict[str, Any] = {**SONG, "checkpoint": "xl-turbo"}
LATE = "was loaded within the lease of the GPU"


@pytest.fixture(scope="module")
def leases() -> Iterator[Broker]:
    with broker() as made:
        yield made


@pytest.fixture(scope="module")
def space(leases: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A Space that starts on nano, with a checkpoint and a planner beside it."""
    home = tmp_path_factory.mktemp("space")
    save_tiny(home / "models" / "xl-turbo", ratios=SLOW)
    save_lm(home / "models" / "lm-0.6b", spread=0.3, terse=True)
    zero = {"SPACE_ID": "somebody/studio", "SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": leases.url}
    threads = {"OMP_NUM_THREADS": "1"}
    options = ("--checkpoint", "nano", "--device", "cpu", "--host", "127.0.0.1")
    with serving(home, ROOT / "tests" / "zero_gpu.py", *options, environment=zero | threads) as running:
        yield running


@pytest.fixture(scope="module")
def client(space: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = str(tmp_path_factory.mktemp("downloads"))
    made = Client(space.url, verbose=False, download_files=folder, headers={"x-ip-token": "visitor"})
    yield made
    made.close()


@pytest.fixture
def asked(leases: Broker) -> Iterator[list[int]]:
    """The seconds that are asked for from now on; no lease is refused or ended after the test."""
    leases.asked.clear()
    yield leases.asked
    leases.refuses, leases.ends = False, 0


def song(client: Client, **values: Any) -> dict[str, Any]:
    """What is known of a song that is made by these values."""
    metadata: dict[str, Any] = client.submit(**values, api_name="/generate").result(timeout=JOB_S)[1]
    return metadata


def late(made: dict[str, Any]) -> list[str]:
    """The notes of what was loaded within the lease."""
    return [note for note in made["notes"] if note.endswith(LATE)]


def wait_for(job: Any, words: str) -> None:
    """Wait until the job's line of progress holds the words."""
    deadline = time.monotonic() + JOB_S
    while not any(words in str(output[-1]) for output in job.outputs()):
        assert time.monotonic() < deadline and not job.done(), job.outputs()
        time.sleep(0.02)


def test_a_song_is_made_under_one_short_lease_in_the_name_of_who_asked(
    client: Client, leases: Broker, asked: list[int]
) -> None:
    made = song(client, **SONG, seed=1)
    assert (made["checkpoint"], made["seconds"], late(made)) == ("nano", 10.0, [])
    assert asked == [10]
    assert leases.tokens[-1] == "visitor"


def test_a_process_that_began_with_another_checkpoint_renders_with_the_one_asked_for(
    client: Client, leases: Broker, asked: list[int]
) -> None:
    began = song(client, **SONG, seed=2)
    changed = song(client, **XL, seed=2, thinking=False)
    again = song(client, **SONG, seed=3)
    assert [began["checkpoint"], changed["checkpoint"], again["checkpoint"]] == ["nano", "xl-turbo", "nano"]
    assert (late(began), late(changed)) == ([], [f"ACE-Step 1.5 XL turbo {LATE}"])
    assert late(again) == [f"nano · ships with the studio {LATE}"]
    assert len(set(leases.holders)) == 1


def test_a_planner_that_was_not_there_at_the_start_plans(client: Client, asked: list[int]) -> None:
    made = song(client, **XL, seed=4, use_cot_caption=False)
    assert made["plan"]["planner"] == "lm-0.6b"
    assert any("0.6B" in note for note in late(made))
    assert len(asked) == 1


def test_a_plan_and_a_draft_and_lyrics_come_back(client: Client, asked: list[int]) -> None:
    plan = client.predict(prompt="slow waltz", checkpoint="xl-turbo", duration_s=10, api_name="/plan")
    assert "duration: 10" in str(plan)
    draft = client.predict(query="a waltz about rain", api_name="/inspire")
    assert "waltz" in str(draft) or "drafted" in str(draft)
    text, status = client.predict(brief="rain on a tin roof", structure="verse", api_name="/lyrics")
    assert "[verse" in text.lower() and status.startswith("written")


def test_a_cancelled_job_gives_its_gpu_back_and_the_next_one_is_served(
    client: Client, leases: Broker, asked: list[int]
) -> None:
    released = leases.released
    job = client.submit(**{**SONG, "inference_steps": 100}, seed=5, api_name="/generate")
    wait_for(job, "denoising")
    job.cancel()
    assert song(client, **SONG, seed=6)["checkpoint"] == "nano"
    assert leases.released == released + 2
    assert len(asked) == 2


def test_a_task_that_is_aborted_is_done_under_a_lease_twice_as_long(
    client: Client, leases: Broker, asked: list[int]
) -> None:
    job = client.submit(**{**SONG, "inference_steps": 12}, seed=7, api_name="/generate")
    wait_for(job, "denoising")
    leases.end()
    assert job.result(timeout=JOB_S)[1]["seconds"] == 10.0
    assert asked == [10, 20]


def test_a_task_that_is_aborted_twice_is_told_with_what_can_be_done(
    client: Client, leases: Broker, asked: list[int]
) -> None:
    leases.end()
    leases.ends = 2
    with pytest.raises(AppError, match="The GPU was taken away before the job was done. Make it shorter"):
        song(client, **SONG, seed=8)
    assert asked == [10, 20]


def test_a_used_up_quota_is_told_in_its_own_words_with_what_can_be_done(
    client: Client, leases: Broker, asked: list[int]
) -> None:
    leases.refuses = True
    with pytest.raises(AppError) as refused:
        song(client, **SONG, seed=9)
    assert "You have exceeded your ZeroGPU quota (10s requested vs. 5s left). Try again in 3:00:00" in str(
        refused.value
    )
    assert "Come back later, log in to Hugging Face" in str(refused.value)
    assert asked == [10]


def test_a_space_without_a_gpu_makes_songs_with_nano(tmp_path: Path) -> None:
    options = ("--host", "127.0.0.1")
    with serving(tmp_path, ROOT / "app.py", *options, environment={"SPACE_ID": "somebody/studio"}) as running:
        made = Client(running.url, verbose=False, download_files=str(tmp_path / "downloads"))
        try:
            assert song(made, **SONG, seed=1)["checkpoint"] == "nano"
        finally:
            made.close()


def test_the_suggested_hardware_is_one_that_spaces_have() -> None:
    facts = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert SpaceHardware(facts["suggested_hardware"]) is SpaceHardware.ZERO_A10G
