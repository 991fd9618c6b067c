"""Gradio comes up quickly, and is the Gradio that it always is."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import NamedTuple

import gradio as gr
import pytest
from packaging.version import Version

from tests.conftest import ROOT
from ui import gradio_start
from ui.gradio_start import without_collecting, without_server

COUNTED = """
import ast, inspect, os, sys
parse, count, getfile = ast.parse, 0, inspect.getfile
def counted(*args, **kwargs):
    global count
    count += 1
    return parse(*args, **kwargs)
ast.parse = counted
{start}
import gradio as gr
import pytest

assert inspect.getfile is getfile
with gr.Blocks() as page:
    box = gr.Textbox("hello")
    box.change(lambda text: text, box, box)
writers = [getattr(sys.modules[name], "create_or_modify_pyi", None) for name in gradio_start.STUB_WRITERS]
print(count, len(page.fns), sorted(gr.Textbox.EVENTS), [writer and writer.__module__ for writer in writers])
"""
PLAIN, QUICK = "import gradio", "gradio_start.import_gradio()"
PAGE = """
import json, tempfile
from pathlib import Path
from backend import Settings, Studio
from networks.machine import Machine
from ui import page
from ui.gradio_start import without_server
settings = Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=Path(tempfile.mkdtemp()))
with without_server():
    made = page.build(Studio(settings))
config = made.get_config_file()
config.pop("app_id")
print(json.dumps(config, sort_keys=True, default=lambda value: type(value).__name__))
"""


def said(code: str, **environment: str) -> str:
    """What a fresh process prints."""
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, check=True, capture_output=True, text=True
    )
    return run.stdout


class Report(NamedTuple):
    """What a fresh process tells of Gradio, how often it parsed source code, the page it built, the files it left."""

    gradio: str
    parsed: int
    page: str
    stubs: list[Path]


def report(start: str, then: str = "", **environment: str) -> Report:
    code = COUNTED.format(start=f"from ui import gradio_start; {start}")
    first, _, more = said(code + then, **environment).partition("\n")
    count, _, rest = first.partition(" ")
    stubs = list((ROOT / "ui").glob("*.pyi"))
    for stub in stubs:
        stub.unlink()
    return Report(rest, int(count), more, stubs)


@pytest.fixture
def known() -> None:
    """Skips where an older Gradio is installed on purpose; one that is newer than the known ones is a failure."""
    installed = importlib.metadata.version("gradio")
    if Version(installed) < max(map(Version, gradio_start.KNOWN)):
        pytest.skip("an older Gradio starts in its own way")
    assert installed in gradio_start.KNOWN, f"look through {gradio_start.__file__} with Gradio {installed}"


@pytest.fixture(scope="module")
def usual() -> Report:
    return report(PLAIN)


@pytest.fixture(scope="module")
def quick() -> Report:
    return report(QUICK, PAGE)


@pytest.fixture(scope="module")
def switched() -> Report:
    return report(QUICK, PAGE, **{gradio_start.SWITCH: "1"})


@pytest.mark.usefixtures("known")
def test_no_component_is_parsed_and_gradio_is_otherwise_the_same(usual: Report, quick: Report) -> None:
    assert quick.gradio == usual.gradio
    assert 4 * quick.parsed < usual.parsed


def test_the_switch_leaves_gradio_as_it_comes(usual: Report, switched: Report) -> None:
    assert switched[:2] == usual[:2]


@pytest.mark.usefixtures("known")
def test_the_page_is_the_same_when_gradio_starts_in_its_own_way_and_leaves_no_files_otherwise(
    quick: Report, switched: Report
) -> None:
    assert '"components"' in quick.page
    assert switched.page == quick.page
    assert quick.stubs == []


def test_another_version_of_gradio_starts_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradio_start, "KNOWN", ("0.1",))
    with without_server(), gr.Blocks() as page:
        gr.Textbox("hello")
    assert page.app is not None


@pytest.mark.usefixtures("known")
def test_a_page_has_no_server_until_it_is_launched_and_then_has_one() -> None:
    with without_server(), gr.Blocks() as page:
        gr.Textbox("hello", label="greeting")
    assert page.app is None
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    try:
        assert b"greeting" in urllib.request.urlopen(f"{url}config").read()
    finally:
        page.close()


def test_garbage_is_looked_for_again_after_a_start_that_failed() -> None:
    with pytest.raises(ValueError, match="no page"), without_collecting():
        assert not gc.isenabled()
        raise ValueError("no page")
    assert gc.isenabled()
