"""Checkpoints are found where they lie, whole or not at all, without loading anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoints import find, table
from checkpoints.find import default, installed
from checkpoints.table import CHECKPOINTS, CODES, DIFFUSERS_SONG, PREFERRED, recipe_of
from core.errors import MissingWeights, RequestError
from core.knobs import knobs_of, parse
from core.params import SONG_MODES, GenerateRequest
from core.paths import ROOT
from core.resolve import rendering_of, resolve
from networks.acestep.sampler import noise_levels


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name.replace("*.safetensors*", "model.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nano and nothing else."""
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("ACE_NANO_DIR", str(tmp_path / "nano"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    touch(tmp_path / "nano", *DIFFUSERS_SONG)
    return tmp_path


def test_a_fresh_machine_runs_on_nano(machine: Path) -> None:
    place = find.checkpoint()
    assert (place.checkpoint.name, place.folder, place.companion) == ("nano", machine / "nano", None)
    assert [row.name for row in installed()] == ["nano"]


def test_what_is_not_installed_is_missing_with_its_size_and_one_thing_to_do() -> None:
    with pytest.raises(MissingWeights) as caught:
        find.checkpoint("xl-sft")
    assert "XL SFT is not installed (11.5 GB)" in caught.value.message
    assert "checkpoints download xl-sft" in caught.value.hint


def test_an_unknown_name_is_a_bad_request_that_lists_the_known_ones() -> None:
    with pytest.raises(RequestError) as caught:
        find.checkpoint("xl-soft")
    (fault,) = caught.value.faults
    assert (fault.field, fault.value) == ("checkpoint", "xl-soft")
    assert "xl-sft" in fault.rule


@pytest.mark.parametrize("name", [row.name for row in CHECKPOINTS.values() if row.use != "song"])
def test_weights_that_render_no_songs_are_no_song_checkpoint(name: str) -> None:
    assert table.row(name).name == name
    for refuse in (recipe_of, lambda name: table.row(name, "song")):
        with pytest.raises(RequestError) as caught:
            refuse(name)
        (fault,) = caught.value.faults
        assert (fault.field, fault.value) == ("checkpoint", name)
        assert set(fault.rule.removeprefix("must be one of ").split(", ")) == set(PREFERRED)


def test_the_best_song_checkpoint_that_is_installed_is_the_default(machine: Path) -> None:
    touch(machine / "models" / "xl-turbo", *DIFFUSERS_SONG)
    assert default().name == "xl-turbo"
    touch(machine / "models" / "xl-sft", *DIFFUSERS_SONG)
    assert default().name == "xl-sft"
    assert [row.name for row in installed()] == ["xl-sft", "xl-turbo", "nano"]


@pytest.mark.parametrize("lost", ["vae/model.safetensors", "tokenizer/tokenizer.json", "model_index.json"])
def test_a_folder_that_lacks_a_file_is_not_installed(machine: Path, lost: str) -> None:
    touch(machine / "models" / "xl-sft", *DIFFUSERS_SONG)
    (machine / "models" / "xl-sft" / lost).unlink()
    with pytest.raises(MissingWeights):
        find.checkpoint("xl-sft")


def test_a_folder_that_lacks_a_shard_is_not_installed(machine: Path) -> None:
    folder = machine / "models" / "xl-sft"
    touch(folder, *DIFFUSERS_SONG)
    index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}))
    with pytest.raises(MissingWeights):
        find.checkpoint("xl-sft")
    touch(folder / "transformer", "model-2.safetensors")
    assert find.checkpoint("xl-sft").folder == folder


def test_a_song_is_installed_with_the_networks_of_codes_or_without_and_not_with_half_of_them(machine: Path) -> None:
    folder = machine / "models" / "xl-turbo"
    touch(folder, *DIFFUSERS_SONG)
    assert not find.checkpoint("xl-turbo").has_codes
    touch(folder, CODES[0], CODES[1])
    with pytest.raises(MissingWeights):
        find.checkpoint("xl-turbo")
    assert find.missing(folder, CHECKPOINTS["xl-turbo"]) == CODES[2:]
    touch(folder, *CODES)
    assert find.checkpoint("xl-turbo").has_codes


def test_the_original_layout_needs_its_companion(machine: Path) -> None:
    touch(machine / "models" / "xl-sft", *table.ORIGINAL_SONG)
    with pytest.raises(MissingWeights):
        find.checkpoint("xl-sft")
    touch(machine / "models" / "companion", *table.COMPANION)
    place = find.checkpoint("xl-sft")
    assert (place.folder, place.companion) == (machine / "models" / "xl-sft", machine / "models" / "companion")
    assert place.has_codes


def test_a_download_in_hugging_faces_cache_is_found(machine: Path) -> None:
    base = machine / "hub" / "models--ACE-Step--Ace-Step1.5"
    touch(base / "snapshots" / "abc" / "acestep-v15-turbo", *table.ORIGINAL_SONG)
    touch(base / "snapshots" / "abc", *table.COMPANION)
    (base / "refs").mkdir()
    (base / "refs" / "main").write_text("abc")
    place = find.checkpoint("2b-turbo")
    assert place.folder == base / "snapshots" / "abc" / "acestep-v15-turbo"
    assert place.companion == base / "snapshots" / "abc"


# ---- the table -------------------------------------------------------------------------------------------------------


def test_every_row_says_where_it_comes_from_what_it_weighs_and_under_which_licence() -> None:
    for row in CHECKPOINTS.values():
        assert bool(row.repo) == (row.name != "nano")
        assert row.name == "nano" or row.bytes > 50e6
        assert row.licence and row.files and row.title
        assert (row.recipe is not None) == (row.use == "song")
        assert row.companion is None or CHECKPOINTS[row.companion].use == "companion"


def test_every_song_checkpoint_has_its_place_in_the_order_of_preference() -> None:
    assert sorted(PREFERRED) == sorted(row.name for row in CHECKPOINTS.values() if row.use == "song")


def test_turbo_runs_eight_steps_at_shift_three_without_guidance() -> None:
    for name in ("xl-turbo", "2b-turbo"):
        recipe = recipe_of(name)
        assert (recipe.inference_steps, recipe.shift, recipe.guidance_scale) == (8, 3.0, 1.0)
        assert recipe.muted["guidance_scale"] == "turbo has its guidance distilled into its weights"
    for name in ("xl-sft", "xl-base", "2b-sft", "2b-base"):
        recipe = recipe_of(name)
        assert (recipe.shift, recipe.guidance_scale) == (1.0, 7.0)
        assert "guidance_scale" not in recipe.muted


@pytest.mark.parametrize("steps", [1, 2, 8, 20])
def test_turbo_takes_other_numbers_of_steps_at_its_own_shift(steps: int) -> None:
    asked = parse(GenerateRequest, {"prompt": "lofi", "inference_steps": steps})
    rendering = rendering_of(resolve(asked, recipe_of("2b-turbo"), lambda n: 0), recipe_of("2b-turbo"))
    levels = noise_levels(rendering.schedule, rendering.steps, rendering.shift, rendering.timesteps)
    even = [1 - index / steps for index in range(steps + 1)]
    assert levels == pytest.approx([3 * t / (1 + 2 * t) for t in even])


def test_what_a_recipe_mutes_is_a_knob() -> None:
    knobs = {knob.name for request in SONG_MODES.values() for knob in knobs_of(request)}
    for name in PREFERRED:
        assert set(recipe_of(name).muted) <= knobs
    assert "vocal_language" in {knob.name for knob in knobs_of(GenerateRequest)}


def test_listing_checkpoints_loads_no_framework() -> None:
    code = (
        "import sys; from checkpoints import find; find.installed();"
        "print(sorted({'torch', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
