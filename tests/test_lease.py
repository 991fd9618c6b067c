"""The lease of a shared GPU, with the real `spaces` package and its scheduler stubbed at the network's edge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.tiny import save_tiny
from tests.tiny_lm import save_lm

SPACE = """
import json, multiprocessing, os, sys, warnings
warnings.simplefilter("ignore")
os.environ |= {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": "http://127.0.0.1:9"}
import torch
torch.version.cuda = "12.8"
torch._C._cuda_init = torch.cuda._is_in_bad_fork = bool  # something that can be pickled and does nothing
import spaces
from types import SimpleNamespace
from spaces.zero import client, gradio, torch as patched

asked, refuse = [], []

def schedule(**request):
    asked.append(request["duration"].seconds)
    if refuse:
        raise gradio.error("ZeroGPU quota exceeded", "You have exceeded your free ZeroGPU quota (60s vs. 5s left).")
    return SimpleNamespace(idle=True, nvidiaIndex=0, nvidiaUUID="gpu", allowToken="token")

client.schedule, client.allow, client.release = schedule, lambda *_, **__: None, lambda *_, **__: None
client.get_duration_seconds = lambda *_: 600
patched.init, patched.move, patched.unpatch = (lambda *_, **__: None,) * 3

from dataclasses import dataclass
from core.errors import StudioError
from core.events import Progress, TextDelta
from jobs.estimates import Cost
from jobs.lease import leased, way_of
from jobs.models import Models
from networks.machine import Machine

@dataclass(frozen=True)
class Countdown:
    deaths: str
    fails: bool = False
    needs: tuple = ()
    cost: Cost = Cost(read_gb=16000)  # 40 s on a GPU
    remedy: str = "Ask for less."

    def events(self, models):
        yield Progress("writing")
        yield TextDelta("three ")
        yield TextDelta("two ")
        left = int(open(self.deaths).read())
        if left:
            open(self.deaths, "w").write(str(left - 1))
            os._exit(1)  # what the end of a lease does to the process
        if self.fails:
            raise MemoryError
        yield TextDelta("one")

def told(deaths, fails=False, refused=False):
    asked.clear()
    refuse[:] = [True] * refused
    path = sys.argv[1]
    open(path, "w").write(str(deaths))
    words, error = "", None
    try:
        for event in leased(Countdown(path, fails), way_of(models)):
            words += event.text if isinstance(event, TextDelta) else ""
    except StudioError as raised:
        error = [type(raised).__name__, raised.message, raised.hint]
    return {"words": words, "error": error, "asked": list(asked)}

models = Models(Machine())
report = {
    "well": told(0),
    "once": told(1),
    "twice": told(2),
    "memory": told(0, fails=True),
    "refused": told(0, refused=True),
}
sys.stdout.write(json.dumps(report) + "\\n")
sys.stdout.flush()
for worker in multiprocessing.active_children():  # those of a Space are not meant to end, and hold the pipe open
    worker.kill()
os._exit(0)
"""


AHEAD = """
import json, os, sys
os.environ |= {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": "http://127.0.0.1:9"}
import app
from tests.zero_gpu import without_card
without_card()
os.O_DIRECT = 0  # not every file system of a test machine has it
from backend import Settings, Studio
from checkpoints import find
from spaces.config import Config
from spaces.zero.torch import patching
studio = Studio(Settings())
studio.prepare()
loaded = sorted(studio.loaded)
packed = patching.pack()
installed = [row.name for use in ("song", "planner") for row in find.installed(use)]
doomed = [str(path) for path in find.checkpoint("xl-turbo").folder.rglob("*.safetensors")
          if path.resolve().match(Config.zerogpu_mmap_autoprune_pattern)]
report = {"loaded": loaded, "packed": packed, "installed": installed, "doomed": doomed}
sys.stdout.write(json.dumps(report) + "\\n")
sys.stdout.flush()
os._exit(0)
"""


def cached(home: Path, repo: str, save: Callable[[Path], Path]) -> None:
    """Weights as a Space preloads them: in Hugging Face's cache, the files among the blobs and links to them."""
    base = home / ".cache" / "huggingface" / "hub" / f"models--{repo.replace('/', '--')}"
    (base / "refs").mkdir(parents=True)
    (base / "refs" / "main").write_text("1")
    (base / "blobs").mkdir()
    for number, path in enumerate(path for path in save(base / "snapshots" / "1").rglob("*") if path.is_file()):
        blob = base / "blobs" / str(number)
        path.rename(blob)
        path.symlink_to(blob)


def test_what_is_loaded_before_the_page_is_served_is_packed_and_stays_installed(tmp_path: Path) -> None:
    cached(tmp_path, "ACE-Step/acestep-v15-xl-turbo-diffusers", save_tiny)
    cached(tmp_path, "ACE-Step/acestep-5Hz-lm-0.6B", partial(save_lm, terse=True))
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_CACHE"}
    environment |= {"HOME": str(tmp_path), "ACE_MODELS_DIR": str(tmp_path / "models"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", AHEAD],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["loaded"] == ["planner", "song"]
    assert report["packed"] > 100_000
    assert (report["installed"], report["doomed"]) == (["xl-turbo", "nano", "lm-0.6b"], [])


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of the same work under five leases, each with the seconds that were asked for."""
    scratch = tmp_path_factory.mktemp("lease") / "deaths"
    done = subprocess.run(
        [sys.executable, "-c", SPACE, str(scratch)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_work_is_done_under_one_lease_of_twice_the_estimate_for_its_share_of_a_card(reports: dict[str, Any]) -> None:
    assert reports["well"] == {"words": "three two one", "error": None, "asked": [182]}


def test_a_lease_that_ended_is_asked_for_once_more_and_nothing_is_told_twice(reports: dict[str, Any]) -> None:
    assert reports["once"] == {"words": "three two one", "error": None, "asked": [182, 300]}


def test_a_second_end_is_told_with_what_can_be_done(reports: dict[str, Any]) -> None:
    again = reports["twice"]
    assert again["asked"] == [182, 300]
    assert again["error"] == ["LeaseEnded", "The GPU was taken away before the job was done.", "Ask for less."]


def test_memory_that_ran_out_is_no_ended_lease(reports: dict[str, Any]) -> None:
    assert reports["memory"]["asked"] == [182]
    assert reports["memory"]["error"] == ["OutOfMemory", "The device has not enough memory for this.", "Ask for less."]


def test_a_used_up_quota_is_handed_on_in_its_own_words_and_not_asked_for_twice(reports: dict[str, Any]) -> None:
    refused = reports["refused"]
    assert (refused["words"], refused["asked"]) == ("", [182])
    kind, message, hint = refused["error"]
    assert kind == "LeaseRefused"
    assert "exceeded your free ZeroGPU quota" in message
    assert "log in to Hugging Face" in hint and hint.startswith("Ask for less. ")
