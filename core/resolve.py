"""How "choose for me" becomes a number, and what a checkpoint refuses: a request meets its recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from core.dcw import Dcw, idle_beside
from core.drafts import DraftRequest
from core.errors import Fault, RequestError
from core.knobs import changed, knobs_of, readable, set_in_vain, to_json
from core.lyrics import LyricsRequest
from core.modes import ChunkMask, Structure
from core.params import GUIDED, GuidanceRule, Schedule, SongRequest
from core.recipes import Recipe, WriterRecipe
from core.segments import write_segments
from core.solvers import SOLVERS, Solver, first_of
from core.tables import MAX_SEED

Rng = Callable[[int], int]
"""`rng(n)` returns a random whole number from 0 to n - 1."""

Song = TypeVar("Song", bound=SongRequest)
Asked = TypeVar("Asked", bound=SongRequest | LyricsRequest | DraftRequest)


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """How a song is rendered: every choice that a request may leave to the checkpoint, made.

    `timesteps`, if there are any, are noise levels that replace schedule and shift; they are as many as `steps`.
    `structure` is what a cover keeps of its source; `dcw` is the correction after each step, if there is one.
    `temperature` and `top_k` are those by which tokens are drawn, where a song is made of them.
    """

    steps: int
    schedule: Schedule
    shift: float
    timesteps: tuple[float, ...]
    solver: Solver
    guidance_scale: float
    guidance_rule: GuidanceRule | Literal["adg"]
    structure: Structure
    chunk_mask: ChunkMask
    dcw: Dcw | None
    temperature: float | None
    top_k: int | None

    @property
    def guided(self) -> bool:
        """Whether there is any guidance."""
        return self.guidance_scale > 1


def rendering_of(request: SongRequest, recipe: Recipe) -> Rendering:
    """The request's choices and, where it makes none, the recipe's: the one place where the two meet."""
    timesteps, structure = request.custom_timesteps(), request.cover.structure if request.cover else None
    temperature, top_k = request.tokens.temperature, request.tokens.top_k  # 0 is a choice
    return Rendering(
        steps=len(timesteps) or request.inference_steps or recipe.inference_steps,
        schedule=request.schedule or recipe.schedule,
        shift=request.shift or recipe.shift,
        timesteps=timesteps,
        solver=_solver(request, recipe),
        guidance_scale=request.guidance_scale or recipe.guidance_scale,
        guidance_rule="adg" if request.use_adg else request.guidance_rule or recipe.guidance_rule,
        structure=structure or recipe.structure,
        chunk_mask=request.chunk_mask or recipe.chunk_mask,
        dcw=_dcw(request, recipe),
        temperature=recipe.temperature if temperature is None else temperature,
        top_k=recipe.top_k if top_k is None else top_k,
    )


def _solver(request: SongRequest, recipe: Recipe) -> Solver:
    """The solver that is asked for, by name or by the kind of its equation; else the recipe's."""
    if request.solver is not None:
        return SOLVERS[request.solver]
    usual = SOLVERS[recipe.solver]
    return usual if request.infer_method in (None, usual.method) else first_of(request.infer_method)


def _dcw(request: SongRequest, recipe: Recipe) -> Dcw | None:
    """The correction that is asked for, else the recipe's; a flow edit has none."""
    enabled = recipe.dcw_enabled if request.dcw_enabled is None else request.dcw_enabled
    if not enabled or request.morph is not None:
        return None
    scaler, high_scaler = request.dcw_scaler, request.dcw_high_scaler  # 0 is a choice
    return Dcw(
        mode=request.dcw_mode or recipe.dcw_mode,
        scaler=recipe.dcw_scaler if scaler is None else scaler,
        high_scaler=recipe.dcw_high_scaler if high_scaler is None else high_scaler,
        wavelet=request.dcw_wavelet or recipe.dcw_wavelet,
    )


def _idle(rendering: Rendering) -> dict[str, str]:
    """Knobs that mean nothing to a song that is rendered so, with the reason."""
    idle = {} if rendering.guided else dict.fromkeys(GUIDED, "needs a guidance_scale above 1")
    if rendering.temperature == 0:
        idle["top_k"] = "needs a temperature above 0: at 0 the likeliest token is taken every time"
    dcw = rendering.dcw
    return idle | idle_beside(dcw is not None, None if dcw is None else dcw.mode)


def refuse_muted(request: SongRequest, recipe: Recipe) -> None:
    """Raise RequestError with every knob that was set although it means nothing to the checkpoint."""
    muted = _idle(rendering_of(request, recipe)) | dict(recipe.muted)
    faults = list(set_in_vain(request, muted, recipe.fixed))
    if why := recipe.unable.get(request.mode):
        faults.append(Fault("checkpoint", request.checkpoint, f"cannot {request.mode}: {why}"))
    faults += overlong(request, recipe)
    if recipe.planner == "composer" and request.own_plan.codes is not None:
        rule = "must hold no codes: this checkpoint has other ones than the planner"
        faults.append(Fault("plan", to_json(request)["plan"], rule))
    if faults:
        raise RequestError(faults, "Leave them empty, or choose another checkpoint.")


def refuse_source(request: SongRequest, recipe: Recipe, seconds: float | None) -> None:
    """Raise RequestError for a cover of a source that is shorter or longer than the checkpoint covers."""
    if request.cover is not None and (faults := _outside("src_audio", seconds, recipe.cover_s)):
        raise RequestError(faults, "Choose another recording, or another checkpoint.")


def overlong(request: SongRequest, recipe: Recipe) -> list[Fault]:
    """The fault of a song that is longer or shorter than the checkpoint makes any."""
    return [] if request.from_source else _outside("duration_s", request.music.duration_s, recipe.song_s)


def _outside(name: str, seconds: float | None, bounds: tuple[float, float]) -> list[Fault]:
    low, high = bounds
    if seconds is None or low <= seconds <= high:
        return []
    return [Fault(name, round(seconds, 3), f"must be {low:g} to {high:g} seconds with this checkpoint")]


def idle_among(
    request_class: type[SongRequest | LyricsRequest], values: Mapping[str, object], recipe: Recipe | WriterRecipe
) -> dict[str, str]:
    """The knobs that mean nothing to the weights or beside the other values, with the reason.

    What one of them holds has no say in what others mean: it counts as resting at its default. Values that cannot be
    read count so too.
    """
    idle: dict[str, str] = {}
    for _ in knobs_of(request_class):  # each round silences what hangs on the one before; none lasts as long
        request = readable(request_class, {name: value for name, value in values.items() if name not in idle})
        before, idle = idle, {**_idle_now(request, recipe), **recipe.muted}
        if idle.keys() == before.keys():
            break
    return idle


def _idle_now(request: SongRequest | LyricsRequest, recipe: Recipe | WriterRecipe) -> dict[str, str]:
    if isinstance(request, LyricsRequest) or isinstance(recipe, WriterRecipe):
        return request.idle()
    try:
        rendering = rendering_of(request, recipe)
    except ValueError:  # the timesteps are being typed
        rendering = rendering_of(dataclasses.replace(request, timesteps=""), recipe)
    return {**_idle(rendering), **request.idle()}


def unsung(request: SongRequest, recipe: Recipe) -> str | None:
    """Why the words that the request gives are not sung; None where they are, or where nothing is to be sung."""
    return None if request.wordless else recipe.unsung


def seeded(request: Asked, rng: Rng) -> Asked:
    """The request with a seed: its own, or one that is drawn. Whoever needs a seed asks for it here."""
    return request if request.seed is not None else dataclasses.replace(request, seed=_drawn(rng))


def _drawn(rng: Rng) -> int:
    return rng(MAX_SEED + 1)


def resolve(request: Song, recipe: Recipe, rng: Rng) -> Song:
    """The request with every choice made that does not belong to the planner.

    Prompt, lyrics and metadata stay as the user gave them: what the planner adds stands in the plan. A knob that means
    nothing to the checkpoint, or beside the others, stays empty or takes the value that it has in effect. Resolving a
    resolved request changes nothing, and neither does it change the `rendering_of` a request.
    """
    rendering = rendering_of(request, recipe)
    chosen: dict[str, object] = {
        "seed": seeded(request, rng).seed,
        "inference_steps": rendering.steps,
        "guidance_scale": rendering.guidance_scale,
        "shift": rendering.shift,
        "schedule": rendering.schedule,
        "solver": rendering.solver.name,
        "infer_method": rendering.solver.method,
        "cover_structure": rendering.structure,
        "chunk_mask": rendering.chunk_mask,
        "guidance_rule": rendering.guidance_rule,
        "dcw_enabled": rendering.dcw is not None,
        "temperature": rendering.temperature,
        "top_k": rendering.top_k,
        "more_segments": write_segments(sorted(request.layout.more_s)),
    }
    if rendering.dcw is not None:
        chosen |= {f"dcw_{name}": value for name, value in vars(rendering.dcw).items()}
    if request.retake_variance > 0 and request.retake_seed is None:
        chosen["retake_seed"] = _drawn(rng)
    silent = {*recipe.muted, *request.idle(), *_idle(rendering)}
    alive = {name: value for name, value in chosen.items() if name not in silent} | dict(recipe.fixed)
    return changed(request, {name: value for name, value in alive.items() if hasattr(request, name)})
