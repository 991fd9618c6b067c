"""`./studio plan`: the plan of a song, without the song."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping

from core.knobs import parse
from core.params import PlanRequest
from core.plans import Plan
from networks.machine import Machine


def run(
    values: Mapping[str, object],
    machine: Machine,
    with_bar: Callable[[Iterable[object]], Iterable[Plan]],
    *,
    as_json: bool,
) -> None:
    """Nothing; the plan is on stdout, as the flag `--plan` takes it or as one JSON line. Raises StudioErrors."""
    request = parse(PlanRequest, values)
    from backend import Settings, Studio  # takes longer to import than a wrong flag should take to be refused

    studio = Studio(Settings(machine=machine))
    with contextlib.closing(studio), contextlib.closing(studio.run(request)) as events:
        for plan in with_bar(events):
            told = json.dumps(plan.summary(), ensure_ascii=False) + "\n" if as_json else plan.to_text()
            sys.stdout.write(told)
