"""The adapters of a request as text: one in a line or after a comma, each `name = weight`.

The text is what every face of the studio carries; here it becomes names and weights, and back.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass

HEAVIEST = 1.5
MOST = 8


@dataclass(frozen=True)
class AdapterChoice:
    """A preset's name or a path, and a weight from 0 to `HEAVIEST`; 1 applies the adapter as it was trained."""

    name: str
    weight: float = 1.0

    def __str__(self) -> str:
        """The line that `read_choices` reads as this choice."""
        quoted = '"' + self.name.replace('"', '""') + '"' if set(self.name) & set(',"') else self.name
        return f"{quoted} = {self.weight:g}"


def write_choices(choices: Iterable[AdapterChoice]) -> str:
    """The text of some choices, one in a line."""
    return "\n".join(map(str, choices))


def read_choices(text: str) -> tuple[AdapterChoice, ...]:
    """The choices that a text makes; quotes keep the commas of a name. Raises ValueError with the rule it breaks."""
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    choices = tuple(_choice(item) for row in rows for item in row if item.strip())
    if len(choices) > MOST:
        raise ValueError(f"must name at most {MOST} adapters")
    names = [choice.name for choice in choices]
    if len(set(names)) < len(names):
        raise ValueError("must name each adapter once")
    return choices


def _choice(item: str) -> AdapterChoice:
    name, given, number = item.rpartition("=")
    if not given:
        return AdapterChoice(item.strip())
    rule = f"must give {name.strip() or 'an adapter'} a weight from 0 to {HEAVIEST:g}, as in: name = 0.8"
    try:
        weight = float(number)
    except ValueError:
        raise ValueError(rule) from None
    if not name.strip() or not 0 <= weight <= HEAVIEST:
        raise ValueError(rule)
    return AdapterChoice(name.strip(), weight)
