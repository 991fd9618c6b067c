"""How "choose for me" becomes a number, and what a checkpoint refuses: a request meets its recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from core.errors import Fault, RequestError
from core.knobs import set_in_vain
from core.params import GUIDED, SDE_SOLVERS, CoverRequest, GenerateRequest, Recipe, SongRequest
from core.tables import MAX_SEED

Song = TypeVar("Song", bound=SongRequest)


def refuse_muted(request: SongRequest, recipe: Recipe) -> None:
    """Nothing; raises RequestError for every knob that was set although it means nothing to the checkpoint."""
    muted = dict(recipe.muted)
    if (request.guidance_scale or recipe.guidance_scale) <= 1:
        muted = dict.fromkeys(GUIDED, "needs a guidance_scale above 1") | muted
    faults = list(set_in_vain(request, muted, recipe.fixed))
    if request.mode not in recipe.modes:
        faults.append(Fault("checkpoint", request.checkpoint, f"cannot {request.mode}"))
    if isinstance(request, GenerateRequest) and recipe.planner == "composer" and request.given.codes is not None:
        faults.append(
            Fault("plan", request.plan, "must hold no codes: this checkpoint has other ones than the planner")
        )
    if faults:
        raise RequestError(faults, "Leave them empty, or choose another checkpoint.")


def resolve(request: Song, recipe: Recipe, draw: Callable[[int], int]) -> Song:
    """The request with every choice made that does not belong to the planner; the only place where dice are thrown.

    `draw(n)` returns a random integer below n. Prompt, lyrics and metadata stay as the user gave them: what the planner
    adds stands in the plan. A knob that means nothing to the checkpoint, or beside the others, stays empty or takes
    the value that it has in effect. Resolving a resolved request changes nothing.
    """
    ode_solver = recipe.solver if recipe.solver not in SDE_SOLVERS else "euler"
    solver = request.solver or {"ode": ode_solver, "sde": SDE_SOLVERS[0], None: recipe.solver}[request.infer_method]
    chosen: dict[str, Any] = {
        "seed": draw(MAX_SEED + 1) if request.seed is None else request.seed,
        "inference_steps": request.inference_steps or recipe.inference_steps,
        "guidance_scale": request.guidance_scale or recipe.guidance_scale,
        "shift": request.shift or recipe.shift,
        "schedule": request.schedule or recipe.schedule,
        "solver": solver,
        "infer_method": "sde" if solver in SDE_SOLVERS else "ode",
    }
    if chosen["guidance_scale"] > 1:
        chosen["guidance_rule"] = request.guidance_rule or "apg"
    if request.retake_variance > 0 and request.retake_seed is None:
        chosen["retake_seed"] = draw(MAX_SEED + 1)
    if isinstance(request, CoverRequest):
        chosen["cover_structure"] = request.cover_structure or recipe.structure
    silent = {*recipe.muted, *request.idle()}
    fixed = {name: value for name, value in recipe.fixed.items() if hasattr(request, name)}
    alive = {name: value for name, value in chosen.items() if name not in silent}
    return dataclasses.replace(request, **{**alive, **fixed})
