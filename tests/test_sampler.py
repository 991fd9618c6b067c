"""The mathematics of denoising, on velocities whose results are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import get_args

import pytest
import torch
from torch import Tensor

from core import params, solvers
from core.modes import RepaintMode
from networks.acestep.flow_edit import FlowEditInputs, flow_edit
from networks.acestep.sampler import (
    GUIDANCE,
    SCHEDULES,
    SOLVERS,
    DenoiseInputs,
    Guidance,
    Predictions,
    RepaintWindows,
    View,
    adg,
    apg,
    blend_of,
    cfg,
    denoise,
    draw_noise,
    generators_of,
    levels_from,
    linear_quadratic,
    noise_levels,
    renoise,
    retake_noise,
)

CONTEXT = torch.zeros(1, 4, 2)
VIEW = View(context=CONTEXT, condition="words")
NO_GUIDANCE = Guidance()
Network = Callable[..., list[Tensor]]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def field(v: Callable[[Tensor, float], Tensor]) -> Network:
    """A network that answers every condition alike."""
    return lambda x, t, context, conditions: [v(x, t) for _ in conditions]


def no_noise(index: int) -> Tensor:
    raise AssertionError("this solver draws no noise")


def result(
    velocity: Callable[..., list[Tensor]],
    x: Tensor,
    inputs: DenoiseInputs,
    fresh_noise: Callable[[int], Tensor] = no_noise,
) -> Tensor:
    *_, last = denoise(velocity, x, inputs, fresh_noise)
    return last.x


# ---- names -----------------------------------------------------------------------------------------------------------


def test_every_choice_that_a_request_offers_is_a_row_here() -> None:
    assert set(SOLVERS) == {*solvers.SOLVERS, "upstream_sde"}
    assert set(GUIDANCE) == {*get_args(params.GuidanceRule), "adg"}
    assert set(SCHEDULES) == set(get_args(params.Schedule))


@pytest.mark.parametrize("row", solvers.SOLVERS.values(), ids=lambda row: row.name)
def test_a_solver_evaluates_as_often_and_draws_as_much_noise_as_its_row_says(row: solvers.Solver) -> None:
    evaluations, draws, steps = [], [], 4

    def velocity(x: Tensor, t: float) -> Tensor:
        evaluations.append(t)
        return x

    def fresh(index: int) -> Tensor:
        draws.append(index)
        return noise(1, 4, 1)

    run = DenoiseInputs(levels=noise_levels("linear", steps), view=VIEW, guidance=NO_GUIDANCE, solver=row.name)
    result(field(velocity), noise(1, 4, 1), run, fresh)
    assert len(evaluations) == row.evaluations * steps
    assert bool(draws) == row.draws_noise


# ---- noise and its levels --------------------------------------------------------------------------------------------


def test_a_variation_has_the_noise_of_its_own_seed() -> None:
    four = draw_noise(generators_of([7, 8, 9, 10]), 5, 3)
    assert torch.equal(four[2], draw_noise(generators_of([9]), 5, 3)[0])
    assert not torch.equal(four[0], four[1])


def test_shift_three_in_eight_steps_is_turbos_table() -> None:
    table = (1.0, 0.9545, 0.9, 0.8333, 0.75, 0.6429, 0.5, 0.3, 0.0)
    assert noise_levels("linear", 8, 3.0) == pytest.approx(table, abs=5e-5)


def test_no_shift_is_even_steps() -> None:
    assert noise_levels("linear", 4) == (1.0, 0.75, 0.5, 0.25, 0.0)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 27, 50])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_levels_fall_from_one_to_zero_in_as_many_steps_as_asked(schedule: str, steps: int, shift: float) -> None:
    levels = noise_levels(schedule, steps, shift)
    assert (len(levels), levels[0], levels[-1]) == (steps + 1, 1.0, 0.0)
    assert all(a > b for a, b in pairwise(levels))


def test_linear_quadratic_makes_a_fortieth_of_the_way_in_its_first_half_and_bends_without_a_kink() -> None:
    levels = linear_quadratic(20)
    assert levels[10] == pytest.approx(0.975)
    drops = [a - b for a, b in pairwise(levels)]
    assert drops[:10] == pytest.approx([0.0025] * 10)
    assert all(later > sooner for sooner, later in pairwise(drops[10:]))
    bends = [later - sooner for sooner, later in pairwise(drops[10:])]
    assert bends == pytest.approx([bends[0]] * 9)


def test_custom_timesteps_replace_schedule_steps_and_shift() -> None:
    assert noise_levels("linear", 50, 3.0, (1.0, 0.6, 0.2)) == (1.0, 0.6, 0.2, 0.0)


def test_a_cover_starts_at_the_level_nearest_to_what_it_does_not_keep() -> None:
    levels = noise_levels("linear", 10)
    assert levels_from(levels, 0.42) == pytest.approx((0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0), abs=1e-6)
    assert levels_from(levels, 0.0) == levels
    assert levels_from(levels, 1.0) == pytest.approx((0.1, 0.0))


def test_a_retake_keeps_the_loudness_of_the_noise_and_ends_at_both_draws() -> None:
    first, second = noise(1, 5000, 2), noise(1, 5000, 2, seed=1)
    assert torch.equal(retake_noise(first, second, 0.0), first)
    torch.testing.assert_close(retake_noise(first, second, 1.0), second)
    assert retake_noise(first, second, 0.5).std().item() == pytest.approx(1.0, abs=0.02)


# ---- guidance --------------------------------------------------------------------------------------------------------


def predictions(batch: int = 1, t: float = 0.6) -> Predictions:
    return Predictions(noise(batch, 12, 6), t, noise(batch, 12, 6, seed=1), noise(batch, 12, 6, seed=2))


def row(given: Predictions, index: int) -> Predictions:
    part = slice(index, index + 1)
    return Predictions(given.x[part], given.t, given.cond[part], given.null[part])


def test_cfg_goes_the_scale_times_the_difference_from_the_unconditional_answer() -> None:
    given = predictions()
    guided, _ = cfg(given, 3.0, None)
    torch.testing.assert_close(guided, given.null + 3 * (given.cond - given.null))


@pytest.mark.parametrize("rule", [cfg, apg])
def test_a_scale_of_one_is_the_conditional_answer(rule: Callable[..., tuple[Tensor, Tensor | None]]) -> None:
    given = predictions()
    torch.testing.assert_close(rule(given, 1.0, None)[0], given.cond)


def test_apg_adds_nothing_along_the_conditional_answer_and_at_most_its_threshold_per_channel() -> None:
    given = predictions()
    added = apg(given, 2.0, None)[0] - given.cond
    assert (added * given.cond).sum(dim=1).abs().max().item() < 1e-4
    assert added.norm(dim=1).max().item() <= 2.5 + 1e-5
    assert added.norm(dim=1).max().item() > 1


def test_apg_remembers_three_quarters_of_the_last_difference_with_the_other_sign() -> None:
    given = predictions()
    difference = given.cond - given.null
    _, once = apg(given, 2.0, None)
    _, twice = apg(given, 2.0, once)
    assert once is not None and twice is not None
    torch.testing.assert_close(once, difference)
    torch.testing.assert_close(twice, 0.25 * difference)


@pytest.mark.parametrize("rule", list(GUIDANCE))
def test_guidance_of_a_batch_is_the_guidance_of_its_rows(rule: str) -> None:
    given = predictions(batch=3)
    together, _ = GUIDANCE[rule](given, 7.0, None)
    for index in range(3):
        torch.testing.assert_close(together[index : index + 1], GUIDANCE[rule](row(given, index), 7.0, None)[0])


def adg_by_the_book(given: Predictions, scale: float) -> Tensor:
    """Angle-based guidance in clean estimates and an arc cosine, in float64."""
    x, cond, null, t = given.x.double(), given.cond.double(), given.null.double(), given.t
    weight, clean, origin = max(scale - 1, 0) + 1e-3, x - t * cond, x - t * null
    angle = torch.acos(torch.nn.functional.cosine_similarity(clean, origin, dim=-1)).unsqueeze(-1)
    rotated = (weight * angle).clamp(max=3.14 / 6)
    apart = clean - origin
    across = apart - (apart * origin).sum(-1, keepdim=True) / origin.square().sum(-1, keepdim=True) * origin
    return (x - rotated.cos() * clean - across * rotated.sin() / angle.sin()) / t


@pytest.mark.parametrize("t", [1.0, 0.5, 0.05])
@pytest.mark.parametrize("scale", [1.5, 7.0])
def test_adg_turns_the_clean_estimate_by_its_weighted_angle(t: float, scale: float) -> None:
    given = predictions(batch=2, t=t)
    torch.testing.assert_close(adg(given, scale, None)[0].double(), adg_by_the_book(given, scale), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("t", [1e-2, 1e-4, 1e-8, 0.0])
def test_adg_stays_finite_and_bounded_where_the_noise_ends(t: float) -> None:
    given = predictions(t=t)
    guided, _ = adg(given, 7.0, None)
    assert bool(guided.isfinite().all())
    limit = given.cond.abs().max() + 7 * (given.cond - given.null).abs().max() * 6
    assert guided.abs().max().item() < limit.item()


def test_adg_of_equal_answers_is_nearly_that_answer() -> None:
    given = predictions()
    same = Predictions(given.x, given.t, given.cond, given.cond)
    torch.testing.assert_close(adg(same, 7.0, None)[0], given.cond, rtol=1e-3, atol=1e-3)


class Recorder:
    """A network that predicts 2x with a condition and x without, and records how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, list[object], float]] = []

    def __call__(self, x: Tensor, t: float, context: Tensor, conditions: Sequence[object]) -> list[Tensor]:
        self.calls.append((t, list(conditions), context.mean().item()))
        return [x if condition == "null" else 2 * x for condition in conditions]


def test_outside_its_interval_the_unconditional_answer_is_not_computed() -> None:
    network = Recorder()
    guidance = Guidance(null="null", scale=3.0, rule="cfg", start=0.25, end=0.75)
    result(network, noise(1, 4, 1), DenoiseInputs(levels=noise_levels("linear", 8), view=VIEW, guidance=guidance))
    evaluated = {t: len(conditions) for t, conditions, _ in network.calls}
    assert evaluated == {1.0: 1, 0.875: 1, 0.75: 2, 0.625: 2, 0.5: 2, 0.375: 2, 0.25: 2, 0.125: 1}


def test_without_guidance_one_branch_runs() -> None:
    network = Recorder()
    guidance = Guidance(null="null", scale=1.0)
    result(network, noise(1, 4, 1), DenoiseInputs(levels=noise_levels("linear", 3), view=VIEW, guidance=guidance))
    assert [conditions for _, conditions, _ in network.calls] == [["words"]] * 3


# ---- solvers ---------------------------------------------------------------------------------------------------------


def error_of(solver: str, steps: int) -> float:
    """The error of a solver on dx/dt = x cos(3t), whose solution is known, over a shifted schedule."""
    inputs = DenoiseInputs(levels=noise_levels("linear", steps, 2.0), view=VIEW, guidance=NO_GUIDANCE, solver=solver)
    x = torch.ones(1, 1, 1, dtype=torch.float64)
    end = result(field(lambda x, t: x * math.cos(3 * t)), x, inputs)
    return abs(end.item() - math.exp(-math.sin(3.0) / 3))


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("dpm3m", 2)])
def test_halving_the_steps_shows_a_solvers_order(solver: str, order: int) -> None:
    gain = error_of(solver, 64) / error_of(solver, 128)
    assert gain > 0.85 * 2**order


def test_more_order_is_less_error() -> None:
    assert error_of("dpm3m", 24) < error_of("euler", 24) / 20
    assert error_of("heun", 24) < error_of("euler", 24) / 20


def test_the_multistep_solver_integrates_a_quadratic_exactly_on_uneven_levels() -> None:
    levels = (1.0, 0.9, 0.7, 0.65, 0.3, 0.0)
    inputs = DenoiseInputs(levels=levels, view=VIEW, guidance=NO_GUIDANCE, solver="dpm3m")
    network = field(lambda x, t: torch.full_like(x, 3 * t**2))
    steps = list(denoise(network, torch.zeros(1, 1, 1).double(), inputs, no_noise))
    for before, after in pairwise(steps[1:]):
        moved = (after.x - before.x).item()
        assert moved == pytest.approx(after.t**3 - before.t**3, abs=1e-12)


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_every_solver_finds_a_song_that_the_network_knows(solver: str) -> None:
    clean = noise(1, 6, 2, seed=4)
    inputs = DenoiseInputs(levels=noise_levels("linear", 9, 3.0), view=VIEW, guidance=NO_GUIDANCE, solver=solver)
    start = noise(1, 6, 2)
    if solver == "upstream_sde":  # its own levels are not the schedule's
        inputs = DenoiseInputs(levels=noise_levels("linear", 9), view=VIEW, guidance=NO_GUIDANCE, solver=solver)
    network = field(lambda x, t: (x - clean) / t if t > 0 else start - clean)
    end = result(network, start, inputs, lambda index: noise(1, 6, 2, seed=100 + index))
    torch.testing.assert_close(end, clean, rtol=1e-4, atol=1e-4)


def test_pingpong_climbs_back_to_the_schedules_next_level_with_the_noise_of_its_step() -> None:
    clean, levels = noise(1, 6, 2, seed=4), noise_levels("linear", 4, 3.0)
    inputs = DenoiseInputs(levels=levels, view=VIEW, guidance=NO_GUIDANCE, solver="pingpong")
    steps = list(
        denoise(field(lambda x, t: (x - clean) / t), noise(1, 6, 2), inputs, lambda i: noise(1, 6, 2, seed=10 + i))
    )
    for index, step in enumerate(steps[:-1]):
        torch.testing.assert_close(step.x, renoise(clean, noise(1, 6, 2, seed=10 + index), levels[index + 1]))


def test_heuns_second_look_leaves_the_momentum_of_apg_alone() -> None:
    """With a constant difference d, APG's momentum gives d, d/4, d 13/16 ...: one update per step."""
    seen: list[Tensor] = []

    def network(x: Tensor, t: float, context: Tensor, conditions: Sequence[object]) -> list[Tensor]:
        predictions = [torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[1.0], [-1.0]]])]
        seen.append(x)
        return predictions[: len(conditions)]

    guidance = Guidance(null="null", scale=2.0, rule="apg")
    inputs = DenoiseInputs(levels=(1.0, 0.5, 0.0), view=VIEW, guidance=guidance, solver="heun")
    first, second = denoise(network, torch.zeros(1, 2, 1), inputs, no_noise)
    assert len(seen) == 4
    guided, plain = [1.0, 0.25], 1.0  # the second row: what APG adds at steps 1 and 2, and what plain guidance adds
    assert first.x[0, 1, 0].item() == pytest.approx(-0.5 * (guided[0] + plain) / 2)
    moved = second.x[0, 1, 0].item() - first.x[0, 1, 0].item()
    assert moved == pytest.approx(-0.5 * (guided[1] + plain) / 2)


# ---- the loop --------------------------------------------------------------------------------------------------------


def test_there_is_one_step_for_each_level_and_it_says_where_it_is() -> None:
    inputs = DenoiseInputs(levels=noise_levels("linear", 4), view=VIEW, guidance=NO_GUIDANCE)
    steps = list(denoise(field(lambda x, t: x), noise(1, 4, 1), inputs, no_noise))
    assert [(step.index, step.total, step.t) for step in steps] == [
        (1, 4, 0.75),
        (2, 4, 0.5),
        (3, 4, 0.25),
        (4, 4, 0.0),
    ]


def test_closing_the_loop_stops_the_network() -> None:
    network = Recorder()
    inputs = DenoiseInputs(levels=noise_levels("linear", 50), view=VIEW, guidance=NO_GUIDANCE)
    steps = denoise(network, noise(1, 4, 1), inputs, no_noise)
    next(steps)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert len(network.calls) == 2


def test_from_the_switch_on_the_network_sees_the_later_view() -> None:
    network = Recorder()
    later = View(context=torch.ones(1, 4, 2), condition="other words")
    guidance = Guidance(null="null", scale=2.0)
    inputs = DenoiseInputs(levels=noise_levels("linear", 5), view=VIEW, guidance=guidance, later=later, switch=2)
    result(network, noise(1, 4, 1), inputs)
    seen = [(conditions[0], conditions[1], context) for _, conditions, context in network.calls]
    assert seen == [("words", "null", 0.0)] * 2 + [("other words", "null", 1.0)] * 3


def test_the_multistep_solver_forgets_velocities_of_another_view() -> None:
    def network(x: Tensor, t: float, context: Tensor, conditions: Sequence[object]) -> list[Tensor]:
        return [torch.full_like(x, 5.0 if condition == "words" else 1.0) for condition in conditions]

    later = View(context=CONTEXT, condition="other words")
    inputs = DenoiseInputs(
        levels=(1, 0.75, 0.5, 0.25, 0), view=VIEW, guidance=NO_GUIDANCE, solver="dpm3m", later=later, switch=2
    )
    assert result(network, torch.zeros(1, 1, 1), inputs).item() == pytest.approx(-0.5 * 5 - 0.5 * 1)


# ---- windows ---------------------------------------------------------------------------------------------------------


def window(start: int = 4, stop: int = 8, **changes: int) -> RepaintWindows:
    return RepaintWindows(windows=[(start, stop)], source=noise(1, 12, 2, seed=8), noise=noise(1, 12, 2), **changes)


def test_ramps_lie_outside_the_window_and_leave_out_zero_and_one() -> None:
    weights = window(ramp=3).weights(12).tolist()
    assert weights == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])


def test_ramps_stop_at_the_ends_of_the_song() -> None:
    weights = window(start=1, stop=11, ramp=5).weights(12).tolist()
    assert weights == pytest.approx([0.5, *[1] * 10, 0.5])
    assert window(start=0, stop=12, ramp=5).weights(12).tolist() == [1] * 12


def test_without_a_ramp_the_source_stands_unchanged_outside_the_window() -> None:
    kept = window()
    inputs = DenoiseInputs(levels=noise_levels("linear", 3), view=VIEW, guidance=NO_GUIDANCE, repaint=kept)
    end = result(field(lambda x, t: x), kept.noise, inputs)
    assert torch.equal(end[:, :4], kept.source[:, :4])
    assert torch.equal(end[:, 8:], kept.source[:, 8:])
    assert not torch.equal(end[:, 4:8], kept.source[:, 4:8])


def test_injection_sets_the_surroundings_to_the_renoised_source_for_as_many_steps_as_asked() -> None:
    kept = window(injections=2)
    inputs = DenoiseInputs(levels=noise_levels("linear", 4), view=VIEW, guidance=NO_GUIDANCE, repaint=kept)
    steps = list(denoise(field(lambda x, t: 0.3 * x), kept.noise, inputs, no_noise))
    held = [torch.equal(step.x[:, :4], renoise(kept.source, kept.noise, step.t)[:, :4]) for step in steps[:3]]
    assert held == [True, True, False]


@pytest.mark.parametrize(
    ("mode", "strength", "expected"),
    [
        ("aggressive", 0.5, (0.0, 0.0, 0.0)),
        ("conservative", 0.5, (1.0, 1.0, 0.05)),
        ("balanced", 0.25, (0.75, 0.75, 0.0375)),
    ],
)
def test_a_repaint_mode_says_how_much_of_the_surroundings_is_held(
    mode: RepaintMode, strength: float, expected: tuple[float, float, float]
) -> None:
    blend = blend_of(mode, strength)
    assert (blend.injection, blend.latent_s, blend.wave_s) == pytest.approx(expected)


# ---- flow edit -------------------------------------------------------------------------------------------------------


def edit_inputs(**changes: object) -> FlowEditInputs:
    facts: dict[str, object] = {
        "levels": noise_levels("linear", 8),
        "source": View(context=CONTEXT, condition="source"),
        "target": View(context=CONTEXT, condition="target"),
        "guidance": NO_GUIDANCE,
    }
    return FlowEditInputs(**(facts | changes))  # type: ignore[arg-type]


def towards(**songs: Tensor) -> Network:
    """A network that knows one song for each condition."""
    return lambda x, t, context, conditions: [(x - songs[str(c)]) / max(t, 1e-6) for c in conditions]


def draws(index: int) -> Tensor:
    return noise(1, 4, 2, seed=50 + index)


def test_the_same_words_on_both_sides_leave_the_recording_as_it_is() -> None:
    clean, song = noise(1, 4, 2, seed=1), noise(1, 4, 2, seed=2)
    *_, last = flow_edit(towards(source=song, target=song), clean, edit_inputs(), draws)
    torch.testing.assert_close(last.x, clean, rtol=1e-5, atol=1e-5)


def test_the_recording_moves_by_the_difference_of_the_two_songs() -> None:
    clean, other = noise(1, 4, 2, seed=1), noise(1, 4, 2, seed=2)
    *_, last = flow_edit(towards(source=clean, target=other), clean, edit_inputs(), draws)
    torch.testing.assert_close(last.x, other, rtol=1e-4, atol=1e-4)


def test_steps_before_n_min_are_not_worked_on_and_after_n_max_the_target_leads_alone() -> None:
    network = Recorder()
    calls = list(flow_edit(network, noise(1, 4, 2), edit_inputs(n_min=0.25, n_max=0.5, n_avg=3), draws))
    assert [(step.index, step.total) for step in calls] == [(index + 1, 6) for index in range(6)]
    evaluated = [conditions[0] for _, conditions, _ in network.calls]
    assert evaluated == ["source", "target"] * 6 + ["target"] * 4


def test_the_mean_over_draws_is_nearer_to_the_answer_than_one_draw() -> None:
    clean = noise(1, 4, 2, seed=1)

    def network(x: Tensor, t: float, context: Tensor, conditions: Sequence[object]) -> list[Tensor]:
        return [torch.tanh(3 * x) if condition == "target" else x for condition in conditions]

    def end(n_avg: int, offset: int) -> Tensor:
        *_, last = flow_edit(network, clean, edit_inputs(n_avg=n_avg), lambda index: draws(1000 * offset + index))
        return last.x

    spread = [torch.stack([end(n_avg, offset) for offset in range(8)]).std(dim=0).mean().item() for n_avg in (1, 8)]
    assert spread[1] < 0.6 * spread[0]


def test_each_branch_of_a_flow_edit_keeps_its_own_momentum_once_per_step() -> None:
    """Constant velocities: the target's difference is 1, the source's 0; only the target's momentum may build up."""

    def network(x: Tensor, t: float, context: Tensor, conditions: Sequence[object]) -> list[Tensor]:
        predictions = {"source": [[1.0], [0.0]], "target": [[1.0], [0.0]], "null": [[1.0], [0.0]]}
        if "target" in conditions:
            predictions["null"] = [[1.0], [-1.0]]
        return [torch.tensor([predictions[str(condition)]]).expand_as(x) for condition in conditions]

    given = edit_inputs(levels=(1.0, 0.5, 0.0), guidance=Guidance(null="null", scale=2.0, rule="apg"), n_avg=4)
    first, second = flow_edit(network, torch.zeros(1, 2, 1), given, lambda index: noise(1, 2, 1, seed=index))
    assert first.x[0, 1, 0].item() == pytest.approx(-0.5)
    assert (second.x - first.x)[0, 1, 0].item() == pytest.approx(-0.5 * 0.25)
