"""The solvers, one row each: what a step costs, and whether it draws noise.

Their functions are those of networks/acestep/sampler.py, by the same names: a solver is one row and one function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

InferMethod = Literal["ode", "sde"]


@dataclass(frozen=True, kw_only=True)
class Solver:
    """A rule for one step: how often it evaluates the network, and whether it draws fresh noise."""

    name: str
    evaluations: int = 1
    draws_noise: bool = False

    @property
    def method(self) -> InferMethod:
        """Which kind of equation it solves: a stochastic one where it draws noise."""
        return "sde" if self.draws_noise else "ode"


_ROWS = (
    Solver(name="euler"),
    Solver(name="heun", evaluations=2),
    Solver(name="dpm3m"),
    Solver(name="pingpong", draws_noise=True),
)

SOLVERS: Mapping[str, Solver] = MappingProxyType({row.name: row for row in _ROWS})


def first_of(method: InferMethod) -> Solver:
    """The solver that stands for a kind of equation where none is named."""
    return next(row for row in _ROWS if row.method == method)
