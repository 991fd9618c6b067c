"""The page as it is built: widgets, endpoints, lines and jobs, without a browser."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import soundfile
from gradio.routes import ORJSONResponse
from gradio.state_holder import SessionState
from safetensors.numpy import save_file

import tooltips
from backend import Settings, Studio
from core.adapters import read_choices
from core.errors import Busy, Cancelled, Fault, RequestError
from core.events import TextDelta
from core.knobs import AUTO, Knob, knobs_of
from core.params import MODES, SONG_MODES, UNHEARD
from core.paths import nano_folder
from core.plans import Plan
from core.recipes import Recipe, WriterRecipe
from core.requests import REQUESTS
from core.tables import GROUPS, KEYSCALES, Mode
from library.records import Record, Track
from networks.acestep.lora.adapter import layer_name, linear_shapes
from networks.machine import Machine
from tests.conftest import awaited
from ui import adapters, page, reasons, recordings, tracks, widgets
from ui.faults import Place, in_words, sentence
from ui.handlers import Handlers
from ui.sessions import Jobs
from ui.streams import FAILED, RESULT_KINDS, failure_line, outputs, refusal

EVERY_KNOB = [(mode, knob) for mode, request in MODES.items() for knob in knobs_of(request)]
Props = dict[str, dict[str, Any]]
Info = dict[str, Any]
RAIN = {"brief": "rain", "writer": "built-in"}
RECIPE = Recipe(inference_steps=8, guidance_scale=7.5, shift=3.0, muted={"bpm": "this one has no sense of time"})


@pytest.fixture
def handlers(studio: Studio) -> Handlers:
    return Handlers(studio, hosted=False)


@pytest.fixture
def jobs(studio: Studio) -> Jobs:
    return Jobs(studio)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> gr.Blocks:
    settings = Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=tmp_path_factory.mktemp("page"))
    return page.build(Studio(settings))


@pytest.fixture(scope="module")
def props(blocks: gr.Blocks) -> Props:
    """The properties of every component that has an id in the page, by that id, as they are sent to it."""
    found = json.loads(ORJSONResponse(blocks.get_config_file()).body)["components"]
    return {each["props"]["elem_id"]: each["props"] for each in found if each["props"].get("elem_id")}


@pytest.fixture(scope="module")
def api(blocks: gr.Blocks) -> Info:
    """What a client is told about the endpoints."""
    return dict(blocks.get_api_info() or {})


def widget(knob: Knob, mode: Mode = "generate", **facts: object) -> Any:
    return widgets.make(knob, widgets.Setting(mode=mode, recipe=RECIPE, **facts))  # type: ignore[arg-type]


def knob_of(mode: Mode, name: str) -> Knob:
    return next(knob for knob in knobs_of(MODES[mode]) if knob.name == name)


def saved(studio: Studio, **facts: object) -> Track:
    return studio.library.save(np.zeros((2, 48_000 * 3), np.float32), None, recorded(**facts))


def recorded(**facts: object) -> Record:
    given = {"mode": "generate", "title": "rain", "checkpoint": "nano", "seed": 7, "values": {"seed": 7}} | facts
    return Record(**given)  # type: ignore[arg-type]


# ---- widgets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "knob"), EVERY_KNOB, ids=lambda value: getattr(value, "name", value))
def test_every_knob_has_a_widget_that_starts_at_its_default(props: Props, mode: Mode, knob: Knob) -> None:
    shown = props[widgets.element_id(mode, knob.name)].get("value")
    empty = knob.default is None and shown == ""
    assert empty or shown == widgets.widget_value(knob, knob.default)


def test_a_number_that_the_studio_chooses_is_sent_as_an_empty_text_of_which_gradio_makes_no_0(props: Props) -> None:
    assert props["generate-bpm"]["value"] == ""
    number = widgets.Number()
    assert [number.preprocess(value) for value in ("", None, 0, 7.5)] == [None, None, 0, 7.5]
    assert [number.postprocess(value) for value in (None, 0, 7.5)] == ["", 0, 7.5]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_open_is_numbered_without_a_gap_and_the_rest_is_folded(props: Props, mode: Mode) -> None:
    knobs = knobs_of(MODES[mode])
    classes = {knob.name: props[widgets.element_id(mode, knob.name)]["elem_classes"] for knob in knobs}
    steps = [name for name, own in classes.items() if "step" in own]
    assert steps == [knob.name for knob in knobs if knob.group == "main"]
    folds = {knob.group for knob in knobs} - {"main"}
    assert {group for group in GROUPS if f"{mode}-{group}-fold" in props} == folds
    assert not any(props[f"{mode}-{group}-fold"]["open"] for group in folds)


def test_a_knob_that_the_checkpoint_cannot_honour_is_disabled_and_says_why() -> None:
    tempo = widget(knob_of("generate", "bpm"))
    assert (tempo.interactive, tempo.info) == (False, "this one has no sense of time")
    assert widget(knob_of("generate", "seed")).interactive is True


def test_a_reason_for_many_knobs_of_a_fold_is_told_once_above_them(handlers: Handlers, props: Props) -> None:
    idle = handlers.idle("generate", {})
    told = reasons.told("generate", idle)
    composed = "its planner is a composer, not a language model"
    assert told["planner"] == f"All of these mean nothing now: {composed}."
    assert len([name for name, reason in idle.items() if reason == composed]) == 11
    assert not any(composed in str(each.get("info")) for each in props.values())
    avoids = props["generate-lm-negative-prompt"]
    assert (avoids["interactive"], avoids["info"]) == (False, tooltips.KNOBS["lm_negative_prompt"][1])
    assert props["generate-chunk-mask"]["info"] == "nano was trained on explicit masks alone"  # alone in its fold
    assert reasons.told("generate", dict.fromkeys(("cfg_interval_start", "use_adg", "shift"), "why")) == {
        "schedule": "3 of these mean nothing now: why."
    }
    assert reasons.quiet("generate", {"seed": "why", "bpm": "why", "keyscale": "why"}) == frozenset()


def test_each_key_is_listed_once_and_any_spelling_shows_as_the_one_that_is_equal(props: Props, api: Info) -> None:
    values = [value for _, value in props["generate-keyscale"]["choices"]]
    assert (len(values), values[0]) == (25, AUTO)
    key = knob_of("generate", "keyscale")
    assert {widgets.widget_value(key, each) for each in KEYSCALES} == set(values[1:])
    shown = [widgets.widget_value(key, each) for each in ("C♯ minor", "Db minor", "D♭ minor", "C# minor")]
    assert shown == ["C# minor"] * 4
    listed = next(
        each for each in api["named_endpoints"]["/generate"]["parameters"] if each["parameter_name"] == "keyscale"
    )
    assert set(KEYSCALES) <= set(listed["type"]["enum"])


def test_a_checkpoint_has_no_say_in_drafts() -> None:
    recipe = Recipe(inference_steps=8, guidance_scale=1, shift=1, muted={"seed": "always the same"})
    assert widgets.muted(knob_of("cover", "seed"), "cover", recipe) == "always the same"
    assert widgets.muted(knob_of("generate", "seed"), "inspire", recipe) is None


def test_the_built_in_writer_disables_what_only_models_can_honour_and_says_why(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path))
    recipe = handlers.recipe_of("lyrics", AUTO)
    assert recipe == handlers.recipe_of("lyrics", "built-in") == handlers.recipe_of("lyrics", "no such writer")
    update = widgets.recipe_update(knob_of("lyrics", "top_k"), "lyrics", recipe)
    assert (update["interactive"], "value" in update) == (False, False)
    assert update["info"] == "the built-in writer goes by rules: only language models sample"
    assert widgets.muted(knob_of("lyrics", "seed"), "lyrics", recipe) is None
    names = widgets.entries(knob_of("lyrics", "writer"), recipe, handlers.installed()["writer"])
    assert names == [("auto · built-in", AUTO), ("built-in", "built-in")]


def test_a_language_model_enables_all_knobs_of_the_lyrics(handlers: Handlers) -> None:
    for knob in knobs_of(MODES["lyrics"]):
        update = widgets.recipe_update(knob, "lyrics", WriterRecipe(writer="qwen-3b"))
        assert update["interactive"], knob.name


def test_the_lines_of_a_draft_are_counted_against_the_form(handlers: Handlers) -> None:
    asked = {"structure": "verse, chorus", "lines_verse": 2, "lines_chorus": 3, "lines_bridge": 1}
    draft = "[verse]\nla\nla\n\n[chorus]\nla\n"
    counted = "Lines as written and asked for · verse: 2 of 2 · chorus: 1 of 3"
    assert handlers.line_counts(draft, asked) == counted
    assert handlers.line_counts(" ", asked) == ""
    assert handlers.line_counts(draft, asked | {"structure": "drop"}) == ""


def test_an_empty_field_tells_what_the_recipe_would_take() -> None:
    assert widget(knob_of("generate", "inference_steps")).placeholder == "auto · 8"
    assert widget(knob_of("generate", "guidance_scale")).placeholder == "auto · 7.5"
    assert widget(knob_of("generate", "solver")).choices[0] == ("auto · euler", AUTO)
    assert widget(knob_of("generate", "planner"), choices=("lm-4b",)).choices == [(AUTO, AUTO), ("lm-4b", "lm-4b")]


def test_the_kind_of_widget_follows_from_the_knob() -> None:
    kinds = {
        "segment_start_s": gr.Number,  # 360 000 steps fit on no slider
        "repaint_strength": gr.Slider,
        "edit_mode": gr.Radio,
        "keyscale": gr.Dropdown,
        "src_audio": gr.Audio,
        "use_adg": gr.Checkbox,
        "timesteps": gr.Textbox,
    }
    assert [name for name, kind in kinds.items() if not isinstance(widget(knob_of("edit", name), "edit"), kind)] == []


def test_a_flag_that_may_be_left_to_the_studio_is_a_list_of_auto_on_and_off() -> None:
    flag = knob_of("generate", "dcw_enabled")
    assert isinstance(widget(flag), gr.Dropdown)
    assert widget(flag).choices == [("auto · off", AUTO), ("on", True), ("off", False)]
    assert [flag.parse(value) for _, value in widget(flag).choices] == [None, True, False]


def test_another_checkpoint_says_in_lists_too_what_it_would_take() -> None:
    turbo = Recipe(inference_steps=8, guidance_scale=1, shift=3, dcw_enabled=True)
    update = widgets.recipe_update(knob_of("generate", "dcw_enabled"), "generate", turbo)
    assert update["choices"][0] == ("auto · on", AUTO)
    assert widgets.recipe_update(knob_of("generate", "solver"), "generate", turbo)["choices"][0][0] == "auto · euler"
    assert "choices" not in widgets.recipe_update(knob_of("generate", "keyscale"), "generate", turbo)


def test_another_checkpoint_enables_what_it_can_and_keeps_what_was_typed_into_what_it_cannot() -> None:
    free = Recipe(inference_steps=27, guidance_scale=7, shift=3)
    update = widgets.recipe_update(knob_of("generate", "inference_steps"), "generate", free)
    assert (update["interactive"], update["placeholder"]) == (True, "auto · 27")
    muted = widgets.recipe_update(knob_of("generate", "bpm"), "generate", RECIPE)
    assert muted["interactive"] is False and "value" not in muted


# ---- knobs that mean nothing beside the others ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "values", "knob", "reason"),
    [
        ("edit", {}, "source_prompt", "belongs to the “Kind of edit” flow"),
        ("edit", {"repaint_mode": "aggressive"}, "repaint_strength", "belongs to the “Repaint mode” balanced"),
        ("generate", {}, "retake_seed", "needs a “Retake variance” above 0"),
        ("generate", {}, "guidance_rule", "needs a “Guidance” above 1"),
        ("generate", {"timesteps": "1, 0.5"}, "shift", "is replaced by “Custom timesteps”"),
        ("lyrics", {}, "top_p", "the built-in writer goes by rules: only language models sample"),
    ],
)
def test_a_knob_that_means_nothing_beside_the_others_is_disabled_with_the_reason(
    handlers: Handlers, mode: Mode, values: dict[str, Any], knob: str, reason: str
) -> None:
    assert reason == handlers.idle(mode, {"writer": "built-in"} | values)[knob]


def test_what_means_something_again_is_enabled_again(handlers: Handlers) -> None:
    assert "source_prompt" not in handlers.idle("edit", {"edit_mode": "flow"})
    assert "retake_seed" not in handlers.idle("generate", {"retake_variance": 0.5})
    assert "guidance_rule" not in handlers.idle("generate", {"guidance_scale": 3})
    # A value that is half typed, or of a knob that means nothing itself, has no say.
    assert handlers.idle("generate", {"timesteps": "1, 0."})["shift"]
    assert handlers.idle("generate", {"guidance_scale": "three"})["guidance_rule"]
    assert handlers.idle("edit", {"edit_mode": "flow", "retake_variance": 0.5})["retake_seed"]


def test_a_length_that_the_checkpoint_does_not_make_says_so_before_the_run(handlers: Handlers) -> None:
    asked = {"checkpoint": "musicgen-medium", "duration_s": 240}
    assert handlers.hints("generate", asked) == {"duration_s": "Must be 5 to 120 seconds with this checkpoint"}
    assert handlers.hints("generate", {**asked, "duration_s": 120}) == {}
    assert handlers.hints("generate", {**asked, "checkpoint": "xl-sft"}) == {}
    assert handlers.hints("generate", {**asked, "plan": "bpm: 1"}) == {}  # it is being typed


def test_lyrics_that_the_checkpoint_does_not_sing_say_so_before_the_run(handlers: Handlers) -> None:
    said = "nano sings no words: its voice holds vowels, one note for each syllable"
    assert handlers.hints("generate", {"lyrics": "la la"}) == {"lyrics": said}
    assert handlers.hints("generate", {"lyrics": "la la", "instrumental": True}) == {}
    assert handlers.hints("generate", {"lyrics": " "}) == {}
    assert handlers.hints("generate", {"lyrics": "la la", "checkpoint": "xl-sft"}) == {}
    assert widgets.idle_update(knob_of("generate", "lyrics"), "generate", None, said)["info"] == said


def test_the_page_starts_with_what_means_nothing_disabled(props: Props) -> None:
    assert props["edit-source-prompt"]["interactive"] is False
    assert props["generate-retake-seed"]["interactive"] is False
    assert props["edit-repaint-strength"]["interactive"] is True


def test_the_page_does_not_ask_for_what_it_shows_disabled_and_a_client_that_does_is_refused(jobs: Jobs) -> None:
    values = {"prompt": "rain", "retake_seed": 7, "use_adg": True, "vocal_language": "de", "duration_s": 10}
    with pytest.raises(RequestError, match="retake_seed = 7: needs a retake_variance above 0"):
        list(jobs.run("plan", values, "client"))
    jobs.expect("page")
    assert any(isinstance(event, Plan) for event in jobs.run("plan", values, "page"))
    with pytest.raises(RequestError):  # what comes by itself in the page's session was not begun in its form
        list(jobs.run("plan", values, "page"))


# ---- the named interface ---------------------------------------------------------------------------------------------


def test_modes_drafts_and_the_plan_are_the_endpoints_and_nothing_else_is_public(api: Info) -> None:
    assert set(api["named_endpoints"]) == {f"/{name}" for name in REQUESTS}
    assert api["unnamed_endpoints"] == {}


@pytest.mark.parametrize("name", REQUESTS)
def test_an_endpoint_takes_every_knob_by_name_and_needs_none(api: Info, name: str) -> None:
    parameters = api["named_endpoints"][f"/{name}"]["parameters"]
    knobs = knobs_of(REQUESTS[name])
    assert [each["parameter_name"] for each in parameters] == [knob.name for knob in knobs]
    defaults = {each["parameter_name"]: each["parameter_default"] for each in parameters}
    plain = [knob for knob in knobs if not knob.optional]
    assert {knob.name: defaults[knob.name] for knob in plain} == {knob.name: knob.default for knob in plain}
    assert [each["parameter_name"] for each in parameters if not each["parameter_has_default"]] == []


def test_jobs_wait_within_the_studio_and_cancel_behind_none_of_them(blocks: gr.Blocks) -> None:
    jobs = [fn for fn in blocks.fns.values() if fn.api_name in REQUESTS]
    assert len(jobs) == len(REQUESTS)
    assert {fn.concurrency_limit for fn in jobs} == {None}
    config = blocks.get_config_file()
    cancel = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == "cancel")
    assert [each["queue"] for each in config["dependencies"] if (cancel, "click") in each["targets"]] == [False]


# ---- lines -----------------------------------------------------------------------------------------------------------


def test_a_page_that_starts_asks_once_and_no_event_tells_every_component_of_its_turns(blocks: gr.Blocks) -> None:
    events = list(blocks.fns.values())
    assert all(event.show_progress_on == [] for event in events)
    assert [each for event in events for each in event.targets if each[1] == "load"] == [(blocks._id, "load")]


def _fresh(said: Any) -> Any:
    """The same, for Gradio takes apart the updates that it is given."""
    if isinstance(said, list | tuple):
        return type(said)(dict(each) if isinstance(each, dict) else each for each in said)
    return dict(said)


def test_a_page_that_was_built_for_other_weights_is_told_when_it_is_loaded(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path))
    built = page.build(Studio(Settings(machine=Machine(device="cpu"), outputs=tmp_path / "outputs")))
    (load,) = (each for each in built.fns.values() if (built._id, "load") in each.targets)
    (line,) = (each for each in load.outputs if each.elem_id == "progress")
    follows = [each for each in built.fns.values() if (line._id, "select") in each.targets]
    assert {f"run-{mode}" for mode in MODES} <= {str(out.elem_id) for each in follows for out in each.outputs}
    assert load.fn is not None and line not in load.fn("", gr.Request(session_hash="first"))
    (tmp_path / "xl-sft").symlink_to(tiny_weights)
    told = load.fn("", gr.Request(session_hash="second"))
    assert (told[line]["left"], told[line]["renewed"]) == (False, True)


@pytest.mark.parametrize("mode", SONG_MODES)
def test_whoever_switches_previews_off_is_told_what_the_song_costs_then(blocks: gr.Blocks, mode: Mode) -> None:
    ids = {each.elem_id: each._id for each in blocks.blocks.values()}
    switch, button = ids[widgets.element_id(mode, "preview")], ids[f"run-{mode}"]
    events = [each for each in blocks.fns.values() if button in {out._id for out in each.outputs}]
    assert any((switch, "input") in each.targets for each in events)
    assert not any((switch, "change") in each.targets for each in events)  # the page sets it when it starts


def test_what_is_left_as_it_is_is_told_as_gradio_tells_it_and_no_component_is_made_for_it(blocks: gr.Blocks) -> None:
    event = next(each for each in blocks.fns.values() if each.api_name == "inspire" and len(each.outputs) == 2)
    draft, line = event.outputs
    left = gr.skip()
    for said in ([left, "line"], (left, gr.update(value="line", left=True)), [{"a": 1}, left], left, {line: "line"}):
        state, plain = SessionState(blocks), SessionState(blocks)
        told = awaited(blocks.postprocess_data(event, _fresh(said), state))
        gradios = awaited(gr.Blocks.postprocess_data(blocks, event, _fresh(said), plain))
        assert told == [left if each == {**left, "props": left} else each for each in gradios]
        assert state[draft._id] is draft
        assert (plain[draft._id] is draft) is (said == [{"a": 1}, left])  # why all this
    with pytest.raises(ValueError, match="output"):
        awaited(blocks.postprocess_data(event, ["line"], SessionState(blocks)))


def test_a_refusal_names_every_field_and_lets_no_markup_through() -> None:
    error = RequestError([Fault("seed", -1, "must be whole"), Fault("solver", "<img src=x>", "must be known")])
    assert "seed = -1: must be whole; solver = '<img src=x>': must be known" in failure_line(error)
    assert "<img" not in refusal(error).message
    assert "solver = '&lt;img src=x&gt;'" in refusal(error).message


def test_a_failure_that_nobody_foresaw_shows_nothing_of_the_inside(caplog: pytest.LogCaptureFixture) -> None:
    assert refusal(KeyError("layers.3.weight")).message == FAILED
    assert "layers.3.weight" in caplog.text


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (4.4, "4 s"), (22, "20 s"), (89, "90 s"), (100, "2 min"), (3600, "60 min")]
)
def test_costs_are_told_in_round_words(seconds: float, words: str) -> None:
    assert tracks.duration(seconds) == words


def test_the_button_tells_the_cost_and_only_the_mode_when_there_is_none(handlers: Handlers) -> None:
    assert handlers.cost("generate", {"duration_s": 10}).startswith("Generate · about ")
    assert handlers.cost("generate", {"duration_s": -4}) == "Generate"
    assert handlers.cost("cover", {}) == "Cover"


def test_a_rule_names_the_labels_of_the_form_that_it_is_told_in() -> None:
    assert in_words("edit", "belongs to the edit_mode flow") == "belongs to the “Kind of edit” flow"
    assert in_words("generate", "needs thinking") == "needs “Plan first”"
    assert in_words("generate", "is replaced by timesteps") == "is replaced by “Custom timesteps”"
    assert in_words("generate", "must not lie before cfg_interval_start") == "must not lie before “Guidance from”"


@pytest.mark.parametrize("name", REQUESTS)
def test_every_fault_has_a_label(name: str) -> None:
    for knob in knobs_of(REQUESTS[name]):
        said = sentence(name, Fault(knob.name, None, knob.rule))
        assert said.startswith(tooltips.of(name, knob.name)[0])


def test_a_recording_that_cannot_serve_is_refused_by_its_field(tmp_path: Path) -> None:
    file = tmp_path / "mine.wav"
    file.write_bytes(b"")
    assert "src_audio" in str(recordings.refusal("src_audio", str(file)))
    soundfile.write(file, np.zeros(48_000), 48_000)
    assert "must not be silent" in str(recordings.refusal("src_audio", str(file)))
    soundfile.write(file, np.sin(np.arange(48_000) / 9), 48_000)
    assert recordings.refusal("src_audio", str(file)) is None
    assert recordings.refusal("src_audio", None) is None


# ---- adapters --------------------------------------------------------------------------------------------------------


def adapter_file(folder: Path) -> Path:
    module = "base_model.model.layers.0.self_attn.q_proj"
    folder.mkdir(parents=True)
    path = folder / "warm, old.safetensors"
    out, into = linear_shapes(nano_folder())[layer_name(module)]
    tensors = {"lora_A": np.ones((4, into), "f"), "lora_B": np.ones((out, 4), "f")}
    save_file({f"{module}.{part}.weight": tensor for part, tensor in tensors.items()}, path)
    return path


def test_an_uploaded_adapter_stands_in_the_list_and_is_described(tmp_path: Path) -> None:
    path = adapter_file(tmp_path / "one")
    text, line = adapters.add_files("other = 0.5", [str(path)])
    assert [(choice.name, choice.weight) for choice in read_choices(text)] == [("other", 0.5), (str(path), 1.0)]
    assert "rank 4" in line and "Added" in line


def test_an_upload_that_is_no_adapter_leaves_the_list_and_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x00" * 40)
    assert adapters.add_files("other", [str(broken)])[0] == "other"
    assert adapters.add_files("other", [str(broken)])[1].startswith("Not added: ")
    path = str(adapter_file(tmp_path / "two"))
    assert adapters.add_files(adapters.add_files("", [path])[0], [path])[1] == (
        "Not added: must name each adapter once"
    )


# ---- tracks ----------------------------------------------------------------------------------------------------------


def test_metadata_carry_the_settings_and_no_path_of_this_machine(studio: Studio, tmp_path: Path) -> None:
    values = {"src_audio": str(tmp_path / "mine.wav"), "seed": 0, "prompt": "rain"}
    metadata = tracks.metadata(saved(studio, mode="cover", values=values, seed=0), ["a"])
    assert metadata["values"] == {"src_audio": "mine.wav", "seed": 0, "prompt": "rain"}
    assert metadata["seed"] == 0
    assert str(tmp_path) not in json.dumps(metadata)


def test_the_metadata_to_keep_hold_no_path_of_this_machine(studio: Studio, tmp_path: Path) -> None:
    track = saved(studio, mode="cover", values={"src_audio": str(tmp_path / "mine.wav")}, seed=0)
    kept = tracks.sheet(track, [track.id], tmp_path / "kept").read_text(encoding="utf-8")
    assert json.loads(kept)["id"] == track.id
    assert str(tmp_path) not in kept


def test_titles_stay_on_one_line(studio: Studio) -> None:
    assert tracks.headline(saved(studio, title="rain\n\non  tin")) == "rain on tin · 0:03 · seed 7"


def test_the_history_is_the_library_at_home_and_the_browsers_own_songs_where_strangers_share_it(
    studio: Studio,
) -> None:
    first, second = saved(studio, title="mine"), saved(studio, title="yours")
    mine = Handlers(studio, hosted=True)
    me = gr.Request(session_hash="me")
    own = mine.of(me).library.save(np.zeros((2, 48_000 * 3), np.float32), None, recorded(title="my own"))
    for visitor in (gr.Request(session_hash="you"), gr.Request(), None):
        assert Handlers(studio, hosted=False).of(visitor).history() == [
            ("0:03  my own", own.id),
            ("0:03  yours", second.id),
            ("0:03  mine", first.id),
        ]
        assert mine.of(visitor).history() == []
    assert mine.of(me).history() == [("0:03  my own", own.id)]


def test_settings_come_back_without_recordings_that_the_page_may_not_show(handlers: Handlers, tmp_path: Path) -> None:
    outside = tmp_path / "private.wav"
    outside.write_bytes(b"RIFF")
    inside = saved(handlers.studio).path
    values = {"src_audio": str(outside), "reference_audio": str(inside), "audio_cover_strength": 0.4}
    settings = handlers.settings(saved(handlers.studio, mode="cover", values=values))
    assert settings["src_audio"] is None
    assert settings["reference_audio"] == str(inside.resolve())
    assert settings["audio_cover_strength"] == 0.4
    assert set(settings) == {knob.name for knob in knobs_of(SONG_MODES["cover"])} - set(UNHEARD)


def test_one_odd_sidecar_takes_neither_the_history_nor_another_song_from_the_page(studio: Studio) -> None:
    kept, odd = saved(studio, title="mine"), saved(studio, title="odd")
    facts = json.loads(odd.sidecar.read_text())
    for change in ({"seconds": float("nan")}, {"tflop": 10**400}, {"created": "2026-01-02T03:04:05"},
                   {"plan": {"bpm": "abc"}}, {"adapters": ["a"]}, {"values": {"prompt": ["rain"]}}):  # fmt: skip
        odd.sidecar.write_text(json.dumps(facts | change))
        fresh = Studio(dataclasses.replace(studio.settings))
        for hosted in (False, True):
            handlers = Handlers(fresh, hosted=hosted)
            assert handlers.history() == [("0:03  mine", kept.id)], change
            assert handlers.find({"id": odd.id}) is None
            assert handlers.settings(kept)["seed"] == 7
            assert "about" in handlers.cost("generate", {})


def test_a_song_of_weights_that_this_version_does_not_know_is_shown_and_recalled_and_refused_by_name(
    studio: Studio,
) -> None:
    values = {"checkpoint": "of tomorrow", "prompt": "rain", "bpm": 9000, "keyscale": "H dur", "later": 1}
    track = saved(studio, checkpoint="of tomorrow", values=values)
    handlers = Handlers(studio, hosted=False)
    assert handlers.history() == [("0:03  rain", track.id)]
    settings = handlers.settings(track)
    assert [settings[name] for name in ("checkpoint", "prompt", "bpm", "keyscale")] == [
        "of tomorrow",
        "rain",
        None,
        None,
    ]
    assert "later" not in settings
    ORJSONResponse(tracks.metadata(track, [track.id]))
    with pytest.raises(gr.Error, match="checkpoint = 'of tomorrow': must be one of"):
        list(handlers.again({"id": track.id}, gr.Request()))


# ---- jobs ------------------------------------------------------------------------------------------------------------


def test_every_request_has_its_kind_of_result() -> None:
    assert RESULT_KINDS.keys() == REQUESTS.keys()


def test_words_arrive_piece_by_piece(jobs: Jobs) -> None:
    given = list(outputs(jobs, "lyrics", {"brief": "rain on a tin roof", "writer": "built-in", "seed": 1}, "me"))
    assert given[0] == (gr.skip(), "queued")
    texts = [str(text) for text, _ in given if text != gr.skip()]
    assert given[-1][1] == "written · built-in writer · seed 1"
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert "[chorus]" in texts[-1].lower()


def test_a_run_that_writes_nothing_leaves_the_words_that_are_there(jobs: Jobs) -> None:
    given: list[object] = []
    with pytest.raises(gr.Error):
        given.extend(text for text, _ in outputs(jobs, "lyrics", RAIN | {"brief": " "}, "me"))
    jobs.stop("me")
    given.extend(text for text, _ in outputs(jobs, "lyrics", RAIN, "me"))
    assert len(given) == 4
    assert all(text == gr.skip() for text in given)


def test_a_draft_is_none_until_it_is_there(jobs: Jobs) -> None:
    given = list(outputs(jobs, "inspire", {"query": "folk", "seed": 1}, "me"))
    assert given[0] == (None, "queued")
    assert [draft for draft, _ in given[:-1]] == [None] * (len(given) - 1)
    draft, line = given[-1]
    assert isinstance(draft, dict) and draft["prompt"].startswith("folk, ")
    assert line == f"drafted · built-in drafter · {draft['bpm']} bpm · {draft['keyscale']}"


def test_a_stop_that_comes_before_the_job_is_honoured_once_and_hits_no_other_session(jobs: Jobs) -> None:
    jobs.stop("mine")
    assert any(isinstance(event, TextDelta) for event in jobs.run("lyrics", RAIN, "yours"))
    with pytest.raises(Cancelled):
        list(jobs.run("lyrics", RAIN, "mine"))
    jobs.stop("mine")
    jobs.expect("mine")
    assert any(isinstance(event, TextDelta) for event in jobs.run("lyrics", RAIN, "mine"))


def test_a_running_job_is_stopped_by_its_own_session_only(jobs: Jobs) -> None:
    mine = jobs.run("lyrics", RAIN, "mine")
    next(mine)
    jobs.stop("yours")
    assert next(mine) is not None
    jobs.stop("mine")
    with pytest.raises(Cancelled):
        list(mine)


def test_one_cancel_ends_all_that_a_session_has_in_the_line_and_who_has_too_much_in_it_is_told(
    studio: Studio,
) -> None:
    bounded = Studio(dataclasses.replace(studio.settings, max_jobs_per_session=3))
    jobs, asked = Jobs(bounded), {"prompt": "rain", "duration_s": 60}
    mine = [jobs.run("generate", asked, "me") for _ in range(3)]
    for job in mine:
        next(job)
    with pytest.raises(Busy, match="You have 3 jobs at work or in the line: no more than 3 at once"):
        list(jobs.run("generate", asked, "me"))
    other = jobs.run("lyrics", RAIN, "you")
    assert any(isinstance(event, TextDelta) for event in other)
    jobs.stop("me")
    for job in mine:
        with pytest.raises(Cancelled):
            list(job)
    bounded.close()


def test_a_page_that_is_left_loses_no_job_and_its_browser_finds_it_again(studio: Studio) -> None:
    at_home, hosted = Jobs(studio), Jobs(studio, hosted=True)
    for jobs, strangers in ((at_home, True), (hosted, False)):
        jobs.expect("tab", "browser")
        left = jobs.run("lyrics", RAIN, "tab")
        next(left)
        left.close()
        jobs.stop("tab")
        found = jobs.find("browser")
        assert found is not None and found.asked == "lyrics"
        assert jobs.find("") is None or strangers
        words = [event.text for event in jobs.follow(found, "tab after the reload") if isinstance(event, TextDelta)]
        assert "[chorus]" in "".join(words).lower()
        assert jobs.find("browser") is None


def test_a_page_that_came_back_can_stop_its_job_and_a_call_can_be_taken_back(jobs: Jobs) -> None:
    left = jobs.run("generate", {"prompt": "rain", "duration_s": 60}, "tab")
    next(left)
    left.close()
    found = jobs.find("tab")
    assert found is not None
    again = jobs.follow(found, "another tab")
    next(again)
    jobs.stop("another tab", "lyrics")
    assert next(again) is not None
    jobs.stop("another tab", "generate")
    with pytest.raises(Cancelled):
        list(again)


@pytest.mark.parametrize(
    ("name", "values", "line"),
    [
        ("generate", {"prompt": "rain"}, "cancelled · nothing was saved"),
        ("lyrics", RAIN, "cancelled · nothing was saved"),
        ("plan", {"prompt": "rain"}, "cancelled · the plan is as it was"),
        ("inspire", {"query": "folk"}, "cancelled · the form is as it was"),
    ],
)
def test_a_cancelled_job_says_so_and_raises_nothing(jobs: Jobs, name: str, values: dict[str, Any], line: str) -> None:
    jobs.stop("me")
    first, last = outputs(jobs, name, values, "me")
    assert (first[-1], last[-1]) == ("queued", line)
    assert first[:-1] == last[:-1]


def test_a_request_that_cannot_be_served_is_told_in_the_page_before_it_is_raised(studio: Studio, jobs: Jobs) -> None:
    lines: list[Any] = []
    places = {name: Place(element=f"my-{name}", fold=None) for name in ("prompt", "lyrics")}
    with pytest.raises(gr.Error, match="duration_s = 3") as refused:
        lines.extend(line for *_, line in outputs(jobs, "generate", {"prompt": "", "duration_s": 3}, "me", places))
    assert refused.value.visible is False  # a toast would say it twice
    assert lines[-1]["value"].startswith("refused · Style prompt · Length must be a number from 5 to 600 seconds")
    [told] = lines[-1]["faults"]
    assert told["says"] == "Style prompt must not be empty when the lyrics are empty too."
    assert (told["at"], told["with"]) == ("my-prompt", ["my-prompt", "my-lyrics"])
    assert studio.library.list() == ()
