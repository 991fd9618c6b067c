"""`./studio draft`, `enhance` and `understand`: forms filled in from the command line, one JSON line each."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping

from core.drafts import DRAFTS, Draft, DraftKind
from core.knobs import parse
from networks.machine import Machine

COMMANDS: Mapping[str, DraftKind] = {"draft": "inspire", "enhance": "enhance", "understand": "understand"}
"""The draft that each subcommand asks for."""


def run(
    command: str,
    values: Mapping[str, object],
    machine: Machine,
    with_bar: Callable[[Iterable[object]], Iterable[Draft]],
) -> None:
    """Nothing; the draft is on stdout. `with_bar` draws the progress and passes the results on. Raises StudioErrors."""
    request = parse(DRAFTS[COMMANDS[command]], values)
    from backend import Settings, Studio  # takes longer to import than a wrong flag should take to be refused

    studio = Studio(Settings(machine=machine))
    with contextlib.closing(studio), contextlib.closing(studio.run(request)) as events:
        for draft in with_bar(events):
            sys.stdout.write(json.dumps(draft.values(), ensure_ascii=False) + "\n")
