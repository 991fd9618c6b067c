"""A row of small buttons as one component: every component that Gradio makes lengthens the page's start."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from types import MappingProxyType

import gradio as gr

from core.knobs import Value


def build(
    label: str,
    choices: Mapping[str, Value],
    look: str,
    *,
    titles: Mapping[str, str] = MappingProxyType({}),
    caption: str = "",
    elem_id: str | None = None,
) -> gr.HTML:
    """The row, inside the open layout: its value is that of the button that was pressed, which its `select` tells.

    `choices` are the values by what their buttons say, `titles` what some of these say more, `look` is the class of the
    row, and `label` its name.
    """
    first = f"<span>{html.escape(caption)}</span>" if caption else ""
    each = "".join(
        f'<button type="button" data-choice="{html.escape(json.dumps(value))}"'
        f' title="{html.escape(titles.get(words, ""))}">{html.escape(words)}</button>'
        for words, value in choices.items()
    )
    return gr.HTML(
        None,
        html_template=f'<div class="{look}" role="group" aria-label="{html.escape(label)}">{first}{each}</div>',
        js_on_load="studio.choices(element, props, trigger)",
        apply_default_css=False,
        elem_id=elem_id,
    )
