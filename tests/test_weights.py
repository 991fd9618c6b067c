"""Weights brought, verified and removed by the studio that runs: what is refused, what is told, what goes on beside."""

from __future__ import annotations

import json
import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest

from backend import Studio
from checkpoints import download as downloads
from checkpoints import meter, table
from checkpoints.hub import listing
from core.errors import Busy, MissingWeights, RequestError, StudioError
from core.params import GenerateRequest
from jobs.weights import Task, Weights
from tests.hub_server import Fault, Hub
from tests.test_downloads import LARGE, files, hub, models  # noqa: F401
from tests.tiny_lm import save_lm
from ui.handlers import Handlers
from ui.models import act, facts
from ui.streams import failure_update

NAME = "tiny"
PATIENCE_S = 60


@pytest.fixture(autouse=True)
def asks_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(downloads, "listing", lambda part, endpoint: listing(part, hub.url))


def weights() -> Weights:
    return Weights(lambda: "cpu")


def ended(made: Weights, name: str = NAME) -> Task:
    """The last task of a checkpoint, once it is over."""
    end = time.monotonic() + PATIENCE_S
    while made.tasks[name].running and time.monotonic() < end:
        time.sleep(0.01)
    return made.tasks[name]


def row_of(handlers: Handlers, name: str) -> dict[str, object]:
    return next(row for use in facts(handlers)["uses"] for row in use["rows"] if row["name"] == name)


def test_nothing_is_brought_without_consent_and_nothing_at_all_on_a_shared_page(
    studio: Studio,
    hub: Hub,  # noqa: F811
    models: Path,  # noqa: F811
) -> None:
    mine, shared = Handlers(studio, hosted=False), Handlers(studio, hosted=True)
    with pytest.raises(RequestError, match="must be given: Tiny is 0.0 GB, licence MIT"):
        act(mine, "download", NAME, consent=False)
    for what in ("download", "verify", "remove", "cancel"):
        with pytest.raises(StudioError, match="This page is shared"):
            act(shared, what, NAME, consent=True)
    with pytest.raises(RequestError, match="must be one of"):
        act(mine, "download", "../nano", consent=True)
    assert all(row["can"] == [] for use in facts(shared)["uses"] for row in use["rows"])
    assert str(models) not in json.dumps(facts(shared))
    assert hub.requests == [] and not models.exists()


def test_a_download_stops_goes_on_and_ends_where_the_row_says_so(
    studio: Studio,
    hub: Hub,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meter, "EVENT_S", 0.0)
    handlers, made = Handlers(studio, hosted=False), studio.weights
    hub.faults[LARGE] = [Fault("slow", 50)]
    act(handlers, "download", NAME, consent=True)
    assert facts(handlers)["busy"]
    with pytest.raises(Busy):
        act(handlers, "download", NAME, consent=True)
    while not hub.bytes_sent(LARGE) and "downloading" not in str(made.tasks[NAME].progress):
        time.sleep(0.01)
    act(handlers, "cancel", NAME, consent=True)
    assert ended(made) == Task(doing="download", outcome="Stopped. Started again, it goes on where it stopped.")
    assert [way["what"] for way in row_of(handlers, NAME)["can"]] == ["download", "remove"]  # type: ignore[attr-defined]
    act(handlers, "download", NAME, consent=True)
    assert ended(made) == Task(doing="download", outcome="Installed.")
    assert row_of(handlers, NAME)["installed"]
    act(handlers, "remove", NAME, consent=True)
    assert made.tasks[NAME].outcome.startswith("Removed: ")
    assert not row_of(handlers, NAME)["installed"]


def test_what_fails_says_why_and_what_to_do(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    made = weights()
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
        made.download(NAME, consent=True)
        full = ended(made)
    assert full.failed
    assert "GB are needed in" in full.outcome and "Make room, or set ACE_MODELS_DIR to another disk." in full.outcome
    hub.faults[LARGE] = [Fault("wrong")]
    made.download(NAME, consent=True)
    assert ended(made).failed
    assert "arrived damaged" in made.tasks[NAME].outcome
    made.download(NAME, consent=True)
    assert ended(made).outcome == "Installed."
    made.verify(NAME)
    assert "describes no known model" in ended(made).outcome  # its weights are noise


def test_weights_that_were_brought_verify_to_the_last_tensor(hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    folder = save_lm(tmp_path / "published")
    hub.repos[table.CHECKPOINTS[NAME].repo] = {path.name: path.read_bytes() for path in folder.iterdir()}
    made = weights()
    made.download(NAME, consent=True)
    assert ended(made).outcome == "Installed."
    made.verify(NAME)
    assert ended(made).outcome.startswith("Whole: ")
    assert "checksums are right" in made.tasks[NAME].outcome


def test_a_job_that_lacks_weights_names_them_to_the_page(studio: Studio) -> None:
    request = GenerateRequest(prompt="polka", checkpoint="xl-sft")
    with pytest.raises(MissingWeights) as failed:
        list(studio.run(request))
    update = failure_update("generate", failed.value, {})
    assert isinstance(update, dict)
    assert "is not installed" in update["value"]
    assert update["missing"] == {"name": "xl-sft", "line": update["value"]}
