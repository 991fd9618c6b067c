"""Views: what the rail shows beside the modes, in the place of a form. Their songs open in the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gradio as gr

from ui.handlers import Handlers


@dataclass(frozen=True, kw_only=True)
class View:
    """A built view: what the rail shows and hides, and what puts its events in place once the page stands.

    `wire` is given the page (ui.events.Page).
    """

    column: gr.Column
    wire: Callable[..., None]


VIEWS: Mapping[str, Callable[[Handlers], View]] = {}
"""How each view is built, unseen at first, inside the open layout; its title stands in tooltips.VIEWS."""
