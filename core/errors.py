"""The errors of the studio: what happened, and one thing to do about it.

Every error that a user can meet is a `StudioError`. Callers tell them apart by class, never by text;
`exit_code` is what the command line returns for each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


class StudioError(Exception):
    """A failure with a message for the user and a hint: one thing to do."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


@dataclass(frozen=True)
class Fault:
    """One rejected value: the field, the value as the user gave it, and the rule that it broke."""

    field: str
    value: object
    rule: str

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > 60:
            shown = f"{shown[:57]}..."
        return f"{self.field} = {shown}: {self.rule}"


class RequestError(StudioError):
    """A request that cannot be served as asked; carries every fault found, not only the first."""

    exit_code: ClassVar[int] = 2

    def __init__(self, faults: Iterable[Fault], hint: str = "Correct the values named and try again.") -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(str(fault) for fault in self.faults) + ".", hint)


def faults_of(error: Exception) -> dict[str, list[dict[str, str]]]:
    """The faults of a refused request as plain facts, under their name; nothing for any other error."""
    if not isinstance(error, RequestError):
        return {}
    return {"faults": [{"field": fault.field, "rule": fault.rule} for fault in error.faults]}


class MissingWeights(StudioError):
    """A checkpoint that is asked for and not installed; `checkpoint` is its name, where one alone would do."""

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, hint: str = "", *, checkpoint: str = "") -> None:
        super().__init__(message, hint)
        self.checkpoint = checkpoint


class CheckpointError(StudioError):
    """Weights that are there and cannot be used: a missing, extra or misshapen tensor, a broken file."""


class AdapterError(StudioError):
    """An adapter that does not fit the loaded checkpoint or cannot be read."""


class OutOfMemory(StudioError):
    """The device could not hold the job."""


class LeaseRefused(StudioError):
    """A shared GPU that cannot be had now, in the words of whoever shares it: a used-up quota, say."""


class LeaseEnded(StudioError):
    """A device that was lost before the job was done, and once more when it was asked for again."""


class Busy(StudioError):
    """Another job holds the studio and this caller did not want to wait."""


class Cancelled(StudioError):
    """The user stopped the job."""
