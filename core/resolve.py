"""How "choose for me" becomes a number, and what a checkpoint refuses: a request meets its recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from core.drafts import DraftRequest
from core.errors import Fault, RequestError
from core.knobs import set_in_vain
from core.lyrics import LyricsRequest
from core.params import GUIDED, CoverRequest, GenerateRequest, SongRequest
from core.recipes import Recipe
from core.solvers import SOLVERS, Solver, first_of
from core.tables import MAX_SEED

Rng = Callable[[int], int]
"""`rng(n)` returns a random whole number from 0 to n - 1."""

Song = TypeVar("Song", bound=SongRequest)
Asked = TypeVar("Asked", bound=SongRequest | LyricsRequest | DraftRequest)


def seeded(request: Asked, rng: Rng) -> Asked:
    """The request with a seed: its own, or one that is drawn. Seeds come from here alone."""
    return request if request.seed is not None else dataclasses.replace(request, seed=rng(MAX_SEED + 1))


def refuse_muted(request: SongRequest, recipe: Recipe) -> None:
    """Nothing; raises RequestError for every knob that was set although it means nothing to the checkpoint."""
    muted = dict(recipe.muted)
    if (request.guidance_scale or recipe.guidance_scale) <= 1:
        muted = dict.fromkeys(GUIDED, "needs a guidance_scale above 1") | muted
    faults = list(set_in_vain(request, muted, recipe.fixed))
    if request.mode not in recipe.modes:
        faults.append(Fault("checkpoint", request.checkpoint, f"cannot {request.mode}"))
    if isinstance(request, GenerateRequest) and recipe.planner == "composer" and request.own_plan.codes is not None:
        faults.append(
            Fault("plan", request.plan, "must hold no codes: this checkpoint has other ones than the planner")
        )
    if faults:
        raise RequestError(faults, "Leave them empty, or choose another checkpoint.")


def resolve(request: Song, recipe: Recipe, rng: Rng) -> Song:
    """The request with every choice made that does not belong to the planner.

    Prompt, lyrics and metadata stay as the user gave them: what the planner
    adds stands in the plan. A knob that means nothing to the checkpoint, or beside the others, stays empty or takes
    the value that it has in effect. Resolving a resolved request changes nothing.
    """
    solver = solver_of(request, recipe)
    chosen: dict[str, Any] = {
        "seed": seeded(request, rng).seed,
        "inference_steps": request.inference_steps or recipe.inference_steps,
        "guidance_scale": request.guidance_scale or recipe.guidance_scale,
        "shift": request.shift or recipe.shift,
        "schedule": request.schedule or recipe.schedule,
        "solver": solver.name,
        "infer_method": solver.method,
    }
    if chosen["guidance_scale"] > 1:
        chosen["guidance_rule"] = request.guidance_rule or "apg"
    if request.retake_variance > 0 and request.retake_seed is None:
        chosen["retake_seed"] = rng(MAX_SEED + 1)
    if isinstance(request, CoverRequest):
        chosen["cover_structure"] = request.cover_structure or recipe.structure
    silent = {*recipe.muted, *request.idle()}
    fixed = {name: value for name, value in recipe.fixed.items() if hasattr(request, name)}
    alive = {name: value for name, value in chosen.items() if name not in silent}
    return dataclasses.replace(request, **{**alive, **fixed})


def solver_of(request: SongRequest, recipe: Recipe) -> Solver:
    """The solver that is asked for, by name or by the kind of its equation; else the recipe's."""
    if request.solver is not None:
        return SOLVERS[request.solver]
    usual = SOLVERS[recipe.solver]
    return usual if request.infer_method in (None, usual.method) else first_of(request.infer_method)
