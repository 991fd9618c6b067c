"""The spine: declaration, validation, resolution."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import random
from pathlib import Path

import pytest

import tooltips
from checkpoints import table
from cli import reference
from core.actions import ACTIONS
from core.dcw import Dcw
from core.drafts import DRAFTS
from core.errors import Fault, RequestError
from core.knobs import AUTO, Knob, knobs_of, parse, to_json
from core.params import (
    GUIDED,
    MODES,
    SONG_MODES,
    CoverRequest,
    EditRequest,
    ExtendRequest,
    GenerateRequest,
    SongRequest,
)
from core.recipes import Recipe
from core.resolve import refuse_muted, rendering_of, resolve, seeded
from core.tables import GROUPS, KEYSCALES, LANGUAGES

RECIPE = Recipe(inference_steps=27, guidance_scale=7.0, shift=1.5)
GIVEN: dict[str, dict[str, object]] = {
    "generate": {"prompt": "lofi"},
    "cover": {"prompt": "lofi", "src_audio": "song.wav"},
    "extend": {"src_audio": "song.wav"},
    "edit": {"src_audio": "song.wav"},
    "lyrics": {"brief": "rain"},
    "enhance": {"prompt": "lofi"},
    "understand": {"src_audio": "song.wav"},
    **{name: {"track": "20260101-000000-00000000"} for name in ACTIONS},
}
REQUESTS: dict[str, type] = {str(name): cls for name, cls in (*MODES.items(), *DRAFTS.items(), *ACTIONS.items())}
ALL_KNOBS = [
    pytest.param(name, knob, id=f"{name}-{knob.name}") for name, cls in REQUESTS.items() for knob in knobs_of(cls)
]


def faults_of(mode: str, **values: object) -> dict[str, Fault]:
    with pytest.raises(RequestError) as caught:
        parse(REQUESTS[mode], {**GIVEN.get(mode, {}), **values})
    return {fault.field: fault for fault in caught.value.faults}


def test_acestep_has_seventy_keys_and_fifty_languages_besides_unknown() -> None:
    assert (len(KEYSCALES), len(set(KEYSCALES)), len(LANGUAGES)) == (70, 70, 51)


@pytest.mark.parametrize(("mode", "knob"), ALL_KNOBS)
def test_every_knob_has_words_a_fold_and_a_default_within_its_own_rule(mode: str, knob: Knob) -> None:
    label, sentence = tooltips.of(mode, knob.name)
    assert label and sentence.endswith(".")
    assert knob.group in GROUPS
    assert knob.parse(knob.default) == knob.default


def test_no_words_stand_in_the_tooltips_for_a_knob_that_does_not_exist() -> None:
    known = {(name, knob.name) for name, cls in REQUESTS.items() for knob in knobs_of(cls)}
    own = {tuple(name.split(".")) for name in tooltips.KNOBS if "." in name}
    assert own <= known
    assert {name for name in tooltips.KNOBS if "." not in name} == {name for _, name in known}
    assert set(tooltips.MODES) == set(MODES)
    assert set(tooltips.DRAFTS) == set(DRAFTS)
    assert set(tooltips.ACTIONS) == set(ACTIONS)


NONSENSE: list[object] = [math.nan, math.inf, -1, 10**10, 10**400, "no such thing", [], {"a": 1}, "x" * 200_000]


@pytest.mark.parametrize(("mode", "knob"), ALL_KNOBS)
def test_nonsense_is_answered_with_field_value_and_rule(mode: str, knob: Knob) -> None:
    for nonsense in NONSENSE:
        if isinstance(nonsense, str) and (
            knob.kind == "audio" or (knob.kind == "text" and len(nonsense) <= (knob.high or 0))
        ):
            continue
        if knob.kind in ("integer", "number") and nonsense == -1 and (knob.low or 0) < 0:
            continue
        fault = faults_of(mode, **{knob.name: nonsense})[knob.name]
        assert fault.rule == knob.rule
        assert knob.name in str(fault)


@pytest.mark.parametrize("mode", REQUESTS)
@pytest.mark.parametrize("broken", ["x\ud800", "\udcff.wav"])
def test_half_a_character_is_neither_text_nor_a_path(mode: str, broken: str) -> None:
    written = {knob.name: knob for knob in knobs_of(REQUESTS[mode]) if knob.kind in ("text", "audio")}
    found = faults_of(mode, **dict.fromkeys(written, broken))
    assert {name: fault.rule for name, fault in found.items()} == {name: knob.rule for name, knob in written.items()}


def test_all_faults_are_reported_at_once() -> None:
    found = faults_of("generate", bpm=12, seed=-1, solver="magic", use_adg="yes", colour="red")
    assert set(found) == {"bpm", "seed", "solver", "use_adg", "colour"}
    assert found["colour"].rule == "is not a knob of this mode"


@pytest.mark.parametrize(
    ("mode", "values", "field"),
    [
        ("generate", {"prompt": " ", "lyrics": ""}, "prompt"),
        ("generate", {"cfg_interval_start": 0.8, "cfg_interval_end": 0.2}, "cfg_interval_end"),
        ("generate", {"infer_method": "sde", "solver": "heun"}, "solver"),
        ("generate", {"infer_method": "ode", "solver": "pingpong"}, "solver"),
        ("generate", {"use_adg": True, "guidance_rule": "cfg"}, "guidance_rule"),
        ("generate", {"retake_seed": 4}, "retake_seed"),
        ("generate", {"timesteps": "0.5, 0.9"}, "timesteps"),
        ("generate", {"timesteps": "1, fast"}, "timesteps"),
        ("generate", {"timesteps": "1.5, 1"}, "timesteps"),
        ("cover", {"src_audio": None}, "src_audio"),
        ("cover", {"tracks": "drums"}, "tracks"),
        ("cover", {"task_type": "extract"}, "tracks"),
        ("cover", {"task_type": "extract", "tracks": "drums, bass"}, "tracks"),
        ("cover", {"task_type": "complete", "tracks": "kazoo"}, "tracks"),
        ("cover", {"task_type": "lego", "tracks": "bass", "audio_cover_strength": 0.5}, "audio_cover_strength"),
        ("generate", {"timesteps": "1, 0.5", "shift": 3}, "shift"),
        ("generate", {"dcw_enabled": False, "dcw_scaler": 0.1}, "dcw_scaler"),
        ("generate", {"dcw_enabled": False, "dcw_mode": "low"}, "dcw_mode"),
        ("generate", {"dcw_mode": "low", "dcw_high_scaler": 0.1}, "dcw_high_scaler"),
        ("generate", {"dcw_mode": "pix", "dcw_wavelet": "db4"}, "dcw_wavelet"),
        ("edit", {"edit_mode": "flow", "prompt": "x", "dcw_enabled": True}, "dcw_enabled"),
        ("edit", {"edit_mode": "flow", "prompt": "x", "dcw_scaler": 0.1}, "dcw_scaler"),
        ("edit", {"source_prompt": "piano"}, "source_prompt"),
        ("edit", {"edit_mode": "flow", "prompt": "x", "solver": "heun"}, "solver"),
        ("edit", {"repaint_mode": "aggressive", "repaint_strength": 0.8}, "repaint_strength"),
        ("edit", {"segment_start_s": 5, "segment_end_s": 5}, "segment_end_s"),
        ("edit", {"edit_mode": "flow", "prompt": "x", "n_min": 0.6, "n_max": 0.6}, "n_max"),
        ("edit", {"edit_mode": "flow", "prompt": ""}, "prompt"),
        ("lyrics", {"brief": "\n"}, "brief"),
        ("enhance", {"prompt": " ", "lyrics": ""}, "prompt"),
        ("understand", {"src_audio": None}, "src_audio"),
        ("lyrics", {"temperature": 0, "top_p": 0.5}, "top_p"),
        ("lyrics", {"temperature": 0, "top_k": 3}, "top_k"),
    ],
)
def test_values_that_contradict_each_other_are_refused(mode: str, values: dict[str, object], field: str) -> None:
    assert set(faults_of(mode, **values)) == {field}


def test_json_numbers_count_as_whole_numbers_but_text_and_truth_values_do_not() -> None:
    assert parse(GenerateRequest, {"prompt": "x", "bpm": 92.0}).bpm == 92
    assert set(faults_of("generate", bpm="92", seed=True, inference_steps=8.5)) == {"bpm", "seed", "inference_steps"}


@pytest.mark.parametrize("empty", [None, "", AUTO])
def test_empty_and_auto_leave_the_choice_to_the_studio(empty: object) -> None:
    request = parse(GenerateRequest, {"prompt": "x", "keyscale": empty, "bpm": empty, "checkpoint": empty})
    assert (request.keyscale, request.bpm, request.checkpoint) == (None, None, None)


def test_custom_timesteps_lose_their_final_zero() -> None:
    assert parse(GenerateRequest, {"prompt": "x", "timesteps": "1, 0.5 0.25,0"}).custom_timesteps() == (1.0, 0.5, 0.25)


def test_resolve_fills_what_was_left_open_and_keeps_what_was_asked() -> None:
    request = parse(GenerateRequest, {"prompt": "x", "inference_steps": 9})
    resolved = resolve(request, RECIPE, lambda n: n - 1)
    assert (resolved.inference_steps, resolved.guidance_scale, resolved.shift) == (9, 7.0, 1.5)
    assert (resolved.seed, resolved.solver, resolved.infer_method) == (2**31 - 1, "euler", "ode")
    assert resolved.bpm is None


@pytest.mark.parametrize("name", table.PREFERRED)
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"infer_method": "sde"},
        {"solver": "heun", "shift": 2, "inference_steps": 9},
        {"timesteps": "1, 0.5"},
        {"use_adg": True, "guidance_scale": 3},
        {"guidance_rule": "cfg", "guidance_scale": 3},
        {"dcw_enabled": True},
        {"dcw_enabled": True, "dcw_mode": "low", "dcw_scaler": 0},
        {"dcw_enabled": True, "dcw_mode": "pix"},
        {"dcw_enabled": False},
    ],
    ids=str,
)
def test_a_request_is_rendered_alike_before_and_after_it_is_resolved(name: str, values: dict[str, object]) -> None:
    recipe = table.recipe_of(name)
    if name.endswith("turbo") and "guidance_scale" in values:
        return
    for cls in SONG_MODES.values():
        request = parse(cls, {**GIVEN[cls.mode], **values})
        resolved = resolve(request, recipe, random.randrange)
        assert rendering_of(resolved, recipe) == rendering_of(request, recipe)
        assert resolved.seed is not None
        silent = {*recipe.muted, *resolved.idle(), *(() if rendering_of(resolved, recipe).guided else GUIDED)}
        for knob in (
            "inference_steps",
            "guidance_scale",
            "shift",
            "schedule",
            "solver",
            "guidance_rule",
            "dcw_enabled",
        ):
            assert getattr(resolved, knob) is not None or knob in silent


def test_a_correction_is_on_for_turbo_alone_unless_it_is_asked_for() -> None:
    usual = Dcw(mode="double", scaler=0.05, high_scaler=0.02, wavelet="haar")
    for name in table.PREFERRED:
        recipe = table.recipe_of(name)
        left_open, on, off = (
            rendering_of(parse(GenerateRequest, {"prompt": "x", **values}), recipe).dcw
            for values in ({}, {"dcw_enabled": True}, {"dcw_enabled": False})
        )
        assert (left_open, on, off) == (usual if name.endswith("turbo") else None, usual, None)


def test_a_strength_of_zero_is_a_strength() -> None:
    asked = parse(GenerateRequest, {"prompt": "x", "dcw_enabled": True, "dcw_scaler": 0, "dcw_high_scaler": 0})
    dcw = rendering_of(asked, RECIPE).dcw
    assert dcw is not None and (dcw.scaler, dcw.high_scaler) == (0, 0)


def test_a_flow_edit_has_no_correction_even_where_others_have() -> None:
    asked = parse(EditRequest, {**GIVEN["edit"], "edit_mode": "flow", "prompt": "x"})
    turbo = table.recipe_of("xl-turbo")
    assert rendering_of(asked, turbo).dcw is None
    resolved = resolve(asked, turbo, random.randrange)
    assert (resolved.dcw_enabled, resolved.dcw_mode) == (None, None)
    refuse_muted(resolved, turbo)


def test_what_shapes_a_correction_is_refused_where_there_is_none() -> None:
    shaped = parse(GenerateRequest, {"prompt": "x", "dcw_scaler": 0.1})
    with pytest.raises(RequestError, match=r"dcw_scaler = 0\.1: needs dcw_enabled"):
        refuse_muted(shaped, RECIPE)
    refuse_muted(dataclasses.replace(shaped, dcw_enabled=True), RECIPE)
    refuse_muted(shaped, table.recipe_of("xl-turbo"))
    low = dataclasses.replace(RECIPE, dcw_enabled=True, dcw_mode="low")
    with pytest.raises(RequestError, match="dcw_high_scaler = .*: belongs to the dcw_mode double"):
        refuse_muted(parse(GenerateRequest, {"prompt": "x", "dcw_high_scaler": 0.1}), low)


def test_a_resolved_request_says_how_it_is_corrected_and_nothing_that_it_is_not() -> None:
    turbo = table.recipe_of("xl-turbo")
    on, low, off = (
        resolve(parse(GenerateRequest, {"prompt": "x", **values}), turbo, random.randrange)
        for values in ({}, {"dcw_mode": "low"}, {"dcw_enabled": False})
    )
    names = ("dcw_enabled", "dcw_mode", "dcw_scaler", "dcw_high_scaler", "dcw_wavelet")
    assert [getattr(on, name) for name in names] == [True, "double", 0.05, 0.02, "haar"]
    assert [getattr(low, name) for name in names] == [True, "low", 0.05, None, "haar"]
    assert [getattr(off, name) for name in names] == [False, None, None, None, None]


def test_every_checkpoint_has_explicit_masks_unless_it_is_asked_otherwise() -> None:
    for name in table.PREFERRED:
        recipe = table.recipe_of(name)
        assert rendering_of(parse(GenerateRequest, {"prompt": "x"}), recipe).chunk_mask == "explicit"
        asked = parse(GenerateRequest, {"prompt": "x", "chunk_mask": "model"})
        if "chunk_mask" not in recipe.muted:
            refuse_muted(asked, recipe)
            assert rendering_of(asked, recipe).chunk_mask == "model"
    with pytest.raises(RequestError, match="chunk_mask = 'model': nano was trained on explicit masks alone"):
        refuse_muted(asked, table.recipe_of("nano"))


def test_a_cover_renders_the_structure_that_it_asks_for_else_the_recipes() -> None:
    nano = table.recipe_of("nano")
    asked = parse(CoverRequest, {**GIVEN["cover"], "cover_structure": "codes"})
    assert rendering_of(asked, nano).structure == "codes"
    assert rendering_of(parse(CoverRequest, GIVEN["cover"]), nano).structure == nano.structure == "latents"


def test_every_request_with_a_seed_is_seeded_in_one_way() -> None:
    for request_class in (*MODES.values(), *DRAFTS.values()):
        request = seeded(request_class(), lambda n: n - 1)
        assert request.seed == 2**31 - 1
        assert seeded(request, lambda n: 0) == request


def test_seed_zero_is_a_seed() -> None:
    assert resolve(parse(GenerateRequest, {"prompt": "x", "seed": 0}), RECIPE, random.randrange).seed == 0


@pytest.mark.parametrize(
    ("asked", "solver"),
    [({"infer_method": "sde"}, "pingpong"), ({"solver": "pingpong"}, "pingpong"), ({"infer_method": "ode"}, "euler")],
)
def test_the_sde_method_and_the_pingpong_solver_mean_each_other(asked: dict[str, object], solver: str) -> None:
    resolved = resolve(parse(GenerateRequest, {"prompt": "x", **asked}), RECIPE, random.randrange)
    assert resolved.solver == solver
    assert (resolved.infer_method == "sde") == (solver == "pingpong")


@pytest.mark.parametrize("cls", SONG_MODES.values())
def test_resolving_twice_changes_nothing_and_the_values_survive_json(cls: type[SongRequest]) -> None:
    resolved = resolve(parse(cls, GIVEN[cls.mode]), RECIPE, random.randrange)
    assert resolve(resolved, RECIPE, random.randrange) == resolved
    assert parse(cls, json.loads(json.dumps(to_json(resolved)))) == resolved


def test_paths_are_paths_again_after_json() -> None:
    request = parse(CoverRequest, {**GIVEN["cover"], "src_audio": "/music/song.wav"})
    assert request.src_audio == Path("/music/song.wav")
    assert to_json(request)["src_audio"] == "/music/song.wav"


def test_a_path_means_the_same_file_from_every_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = parse(CoverRequest, GIVEN["cover"])
    monkeypatch.chdir("/")
    assert request.src_audio == tmp_path / "song.wav"
    assert parse(CoverRequest, to_json(request)) == request


def test_a_knob_that_means_nothing_to_the_checkpoint_is_refused_with_its_reason() -> None:
    turbo = Recipe(inference_steps=8, guidance_scale=1, shift=3, muted={"guidance_scale": "turbo has no guidance"})
    refuse_muted(parse(GenerateRequest, {"prompt": "x"}), turbo)
    with pytest.raises(RequestError, match=r"guidance_scale = 5\.0: turbo has no guidance"):
        refuse_muted(parse(GenerateRequest, {"prompt": "x", "guidance_scale": 5}), turbo)


def test_a_resolved_request_of_a_checkpoint_with_muted_knobs_can_be_made_again() -> None:
    turbo = Recipe(inference_steps=8, guidance_scale=1, shift=3, muted={"guidance_scale": "turbo has no guidance"})
    resolved = resolve(parse(GenerateRequest, {"prompt": "x"}), turbo, random.randrange)
    assert resolved.guidance_scale is None
    refuse_muted(resolved, turbo)


def test_what_shapes_guidance_is_refused_where_there_is_none() -> None:
    unguided = Recipe(inference_steps=8, guidance_scale=1, shift=1)
    with pytest.raises(RequestError, match="use_adg = True: needs a guidance_scale above 1"):
        refuse_muted(parse(GenerateRequest, {"prompt": "x", "use_adg": True}), unguided)
    refuse_muted(parse(GenerateRequest, {"prompt": "x", "use_adg": True, "guidance_scale": 3}), unguided)
    assert resolve(parse(GenerateRequest, {"prompt": "x"}), unguided, random.randrange).guidance_rule is None


def test_a_muted_knob_may_be_given_the_value_that_it_has_in_effect() -> None:
    alone = Recipe(
        inference_steps=8, guidance_scale=1, shift=1, muted={"thinking": "no planner"}, fixed={"thinking": False}
    )
    refuse_muted(parse(GenerateRequest, {"prompt": "x", "thinking": False}), alone)
    assert not resolve(parse(GenerateRequest, {"prompt": "x"}), alone, random.randrange).thinking


def test_a_mode_that_the_checkpoint_does_not_serve_is_refused() -> None:
    narrow = Recipe(inference_steps=8, guidance_scale=1, shift=3, unable={"extend": "it has no end"})
    with pytest.raises(RequestError, match="cannot extend: it has no end"):
        refuse_muted(parse(ExtendRequest, GIVEN["extend"]), narrow)


def test_extend_and_edit_need_no_words() -> None:
    assert parse(ExtendRequest, GIVEN["extend"]).prompt == ""
    assert parse(EditRequest, GIVEN["edit"]).prompt == ""


def test_an_error_with_faults_survives_the_way_between_processes() -> None:
    error = RequestError([Fault("bpm", 12, "must be more")], "Try again.")
    again = pickle.loads(pickle.dumps(error))
    assert (again.faults, again.hint, str(again)) == (error.faults, error.hint, str(error))


@pytest.mark.parametrize("name", table.PREFERRED)
def test_a_recipe_survives_the_way_between_processes(name: str) -> None:
    recipe = table.recipe_of(name)
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_the_page_of_knobs_is_up_to_date() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run: .venv/bin/python -m cli.reference"
    assert reference.DONE.read_text(encoding="utf-8") == reference.actions_page(), "run it too"
