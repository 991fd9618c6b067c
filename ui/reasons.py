"""A reason that silences many knobs of a fold: it is told once, above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.knobs import knobs_of
from core.params import MODES
from core.tables import GROUPS, Mode

REPEATED = 3
"""So many knobs of one fold with the same reason do not each say it."""


def _repeated(mode: Mode, idle: Mapping[str, str]) -> dict[tuple[str, str], list[str]]:
    """The knobs by (group, reason) where one reason silences many of a fold; `idle` are all of them with the reason."""
    names: dict[tuple[str, str], list[str]] = {}
    for knob in knobs_of(MODES[mode]):
        if GROUPS[knob.group] and knob.name in idle:
            names.setdefault((knob.group, idle[knob.name]), []).append(knob.name)
    return {place: alike for place, alike in names.items() if len(alike) >= REPEATED}


def quiet(mode: Mode, idle: Mapping[str, str]) -> frozenset[str]:
    """The knobs whose reason the fold tells for them."""
    return frozenset(name for names in _repeated(mode, idle).values() for name in names)


def told(mode: Mode, idle: Mapping[str, str]) -> dict[str, str]:
    """The line above each fold that tells a reason, by group."""
    lines: dict[str, list[str]] = {}
    for (group, reason), names in _repeated(mode, idle).items():
        lines.setdefault(group, []).append(f"{_count(mode, group, names)} nothing now: {reason}.")
    return {group: " ".join(said) for group, said in lines.items()}


def _count(mode: Mode, group: str, names: Sequence[str]) -> str:
    total = sum(knob.group == group for knob in knobs_of(MODES[mode]))
    return "All of these mean" if len(names) == total else f"{len(names)} of these mean"
