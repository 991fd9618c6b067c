"""What a view is: something that the rail shows in the place of a form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr


@dataclass(frozen=True, kw_only=True)
class View:
    """A built view: what the rail shows and hides, and what puts its events in place once the page stands.

    `wire` is given the page (ui.events.Page). `renewal` is its event after which the studio may take other weights.
    """

    column: gr.Column
    wire: Callable[..., None]
    renewal: Any = None
