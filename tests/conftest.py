"""What every test may rely on: no network, and the studio running as a user starts it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from backend import Studio

Result = TypeVar("Result")

ROOT = Path(__file__).parent.parent
OFFLINE = {"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
START_S = 180
"""How long the studio may take to start on a machine that is slow and busy."""

# Before any test file is imported: the libraries read these when they are.
os.environ.update(OFFLINE)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores already


@dataclass(frozen=True)
class App:
    """A running studio: its address, its folders of tracks and of weights, the file of its log, and its process."""

    url: str
    outputs: Path
    models: Path
    log: Path
    pid: int
    process: subprocess.Popen[bytes]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuses connections that leave the machine, with an error that says so."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: tuple[str, int] | str | bytes) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test asked for {address!r}: tests stay on this machine")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Run on one thread: networks as small as the tests' are slower on several, on a busy machine many times slower."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a few thousand random weights that may stand for nano: its songs take a tenth of the time."""
    from tests.tiny import save_stand_in

    return save_stand_in(tmp_path_factory.mktemp("nano"))


@pytest.fixture(scope="module")
def tiny_nano(tiny_weights: Path) -> Iterator[None]:
    """Let that checkpoint stand for nano."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ACE_NANO_DIR", str(tiny_weights))
        yield


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """A studio on nano with an empty library."""
    from backend import Settings, Studio
    from networks.machine import Machine

    made = Studio(Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=tmp_path / "outputs"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Iterator[App]:
    """The studio in a process of its own, whose songs are those of the tiny checkpoint."""
    tiny = {"ACE_NANO_DIR": str(tiny_weights)}
    with serving(tmp_path_factory.mktemp("studio"), ROOT / "app.py", environment=tiny) as running:
        yield running


@contextmanager
def serving(
    home: Path, program: Path, *options: str, environment: Mapping[str, str] = {}, junk: bool = False
) -> Iterator[App]:
    """The program that serves the studio, started in that folder; its log must stay free of tracebacks.

    Nor may it tell of events that cannot be read, unless it is sent `junk`.
    """
    port, log = _free_port(), home / "log.txt"
    process = _start([sys.executable, str(program), "--port", str(port), *options], home, log, environment)
    running = App(
        url=f"http://127.0.0.1:{port}",
        outputs=home / "outputs",
        models=home / "models",
        log=log,
        pid=process.pid,
        process=process,
    )
    try:
        _wait_for(running, process)
        yield running
    finally:
        _stop(process)
    lines = log.read_text(encoding="utf-8", errors="replace")
    assert "Traceback" not in lines, lines
    assert junk or "The event cannot be read" not in lines, lines


def awaited(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What comes of a coroutine, in a thread of its own: in that of the tests Playwright's loop may be running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(command: Sequence[str], home: Path, log: Path, more: Mapping[str, str]) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ACE_OUTPUTS_DIR": str(home / "outputs"),
        # What else is installed on this machine is nothing to the tests.
        "ACE_MODELS_DIR": str(home / "models"),
        "HF_HUB_CACHE": str(home / "hub"),
        "GRADIO_TEMP_DIR": str(home / "uploads"),
        "PYTHONUNBUFFERED": "1",
        **more,
    }
    with log.open("wb") as lines:
        # A session of its own: whatever the studio starts ends with it.
        return subprocess.Popen(
            command,
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_for(running: App, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the studio ended with {process.returncode}:\n{running.log.read_text(errors='replace')}")
        try:
            with urllib.request.urlopen(f"{running.url}/config", timeout=5):
                return
        except urllib.error.HTTPError as refused:
            if refused.code == 401:  # it is up, and asks who is there
                return
            time.sleep(0.1)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"the studio was not up within {START_S} s:\n{running.log.read_text(errors='replace')}")


def stopped(app: App, wait_s: float) -> int:
    """The exit code of a studio that was told to stop."""
    return app.process.wait(wait_s)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, signal_number)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                continue
