"""The bar under the heading of a form and the button that shares a song; starts.js fills both."""

from __future__ import annotations

import gradio as gr

from core.tables import Mode

_TOOLS = """
<div class="tools">
  <details class="presets"><summary>Presets</summary><div class="panel"></div></details>
  <button type="button" class="anew">Start anew</button>
  <button type="button" class="share">Share link</button>
</div>
<div class="link" hidden><p role="status"></p><input type="text" readonly aria-label="Link"></div>
"""
_SIZES = """
<div class="sizes" role="group" aria-label="Form">
  <button type="button" data-size="simple">Simple</button><button type="button" data-size="full">Full</button>
</div>
"""
_IDEAS = '<div class="ideas" role="group" aria-label="Ideas"></div>'

_SHARE = """
<button type="button" class="share">Share link</button>
<div class="link" hidden><p role="status"></p><input type="text" readonly aria-label="Link"></div>
"""


def build(mode: Mode, *, with_line: bool) -> None:
    """What stands under the heading of a form, inside the open layout; one that can start `with_line` is simple first.

    starts.js fills it.
    """
    gr.HTML(
        html_template=f"{_SIZES if with_line else ''}{_TOOLS}{_IDEAS if with_line else ''}",
        js_on_load=f'studio.bar(element, "{mode}")',
        elem_id=f"{mode}-start",
        elem_classes=["start"],
    )


def build_share() -> gr.HTML:
    """The button under a song that makes a link of it, inside the open layout; its value is the link."""
    return gr.HTML(
        None,
        html_template=_SHARE,
        js_on_load="studio.share(element, props, trigger, watch)",
        elem_id="share",
    )
