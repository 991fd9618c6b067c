"""Gradio comes up quickly, and is the Gradio that it always is."""

from __future__ import annotations

import gc
import subprocess
import sys
import urllib.request

import gradio as gr
import pytest

from tests.conftest import ROOT
from ui.gradio_start import without_collecting, without_server

COUNTED = """
import ast, inspect
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
assert inspect.getfile(gr.Textbox).endswith("textbox.py")
with gr.Blocks() as page:
    box = gr.Textbox("hello")
    box.change(lambda text: text, box, box)
print(count, len(page.fns), sorted(gr.Textbox.EVENTS))
"""


def report(start: str) -> tuple[int, str]:
    """How often source code was parsed in a fresh process, and what Gradio said afterwards."""
    command = [sys.executable, "-c", COUNTED.format(start=start)]
    words = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    count, _, rest = words.partition(" ")
    return int(count), rest


def test_no_component_is_parsed_and_gradio_is_otherwise_the_same() -> None:
    usual, same = report("import gradio")
    quick, quick_rest = report("from ui.gradio_start import import_gradio; import_gradio()")
    assert quick_rest == same
    assert 4 * quick < usual


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
