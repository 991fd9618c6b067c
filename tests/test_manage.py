"""Checkpoints that are here already: imported, verified and removed, with real weights of a few thousand numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers.models.qwen3 import Qwen3Config, Qwen3ForCausalLM

from checkpoints import find, manifest, table
from checkpoints.find import Installed
from checkpoints.manage import Verified, import_folder, remove, verify
from checkpoints.manifest import Kept
from checkpoints.table import DIFFUSERS_SONG, LANGUAGE_MODEL, Checkpoint
from cli import main as cli
from core.errors import CheckpointError, RequestError, StudioError
from core.recipes import Recipe
from networks.demucs.open import open_separator
from tests.tiny import save_tiny
from tests.tiny_demucs import SIGNATURE, package, save_pickle, tiny_network

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
PARITY = sorted(path.parent for path in (Path(__file__).parent / "data" / "parity").glob("*/silence_latent.pt"))
Spoil = Callable[[Path], object]

SONG = Checkpoint(
    name="song", title="Song", use="song", repo="someone/song", files=DIFFUSERS_SONG, bytes=1, parameters=118e-6,
    licence="MIT", companion="companion", recipe=Recipe(inference_steps=8, guidance_scale=7.0, shift=1.0),
)  # fmt: skip
WRITER = Checkpoint(
    name="writer", title="Writer", use="lyrics", repo="someone/writer", files=LANGUAGE_MODEL, bytes=1, parameters=5e-6,
    licence="MIT",
)  # fmt: skip


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    rows = {"song": SONG, "writer": WRITER, **table.CHECKPOINTS}
    monkeypatch.setattr(table, "CHECKPOINTS", rows)
    return tmp_path / "models"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def source(whole: Path, tmp_path: Path) -> Path:
    """A folder of the user's with a song's checkpoint and a note in it, free to be spoilt."""
    shutil.copytree(whole, tmp_path / "source")
    (tmp_path / "source" / "notes.md").write_text("mine")
    return tmp_path / "source"


@pytest.fixture
def writer(tmp_path: Path) -> Path:
    """A folder with a language model."""
    folder = tmp_path / "language"
    config = Qwen3Config(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, head_dim=8)  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    return folder


def looked_over(folder: Path) -> Verified:
    found = list(verify(folder))[-1]
    assert isinstance(found, Verified)
    return found


def edit(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def flip(path: Path) -> None:
    """Change one bit of the last tensor."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_an_imported_folder_is_linked_and_stays_as_it_is(source: Path, models: Path) -> None:
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    assert list(import_folder("song", source))[-1] == Installed(SONG, models / "song") == find.checkpoint("song")
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    assert (models / "song" / WEIGHTS).samefile(source / WEIGHTS)
    assert not (models / "song" / "notes.md").exists()
    assert not (models / "song" / manifest.PARTIAL).exists()
    assert looked_over(models / "song").checksums == len(before) - 1


def test_a_song_without_the_networks_of_codes_is_imported_and_whole(source: Path, models: Path) -> None:
    for part in ("audio_tokenizer", "audio_token_detokenizer"):
        shutil.rmtree(source / part)
    list(import_folder("song", source))
    found = looked_over(models / "song")
    assert (found.kind, found.checksums) == ("song", 10)
    assert not find.checkpoint("song").has_codes


def test_a_folder_of_links_is_imported_as_files(source: Path, models: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    for path in source.rglob("*"):
        if path.is_file():
            (linked / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (linked / path.relative_to(source)).symlink_to(path)
    list(import_folder("song", linked))
    assert not any(path.is_symlink() for path in models.rglob("*"))


def test_from_another_disk_the_files_are_copied(source: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refused)
    list(import_folder("song", source))
    assert (models / "song" / WEIGHTS).read_bytes() == (source / WEIGHTS).read_bytes()
    assert not (models / "song" / WEIGHTS).samefile(source / WEIGHTS)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), r"lacks transformer/\*.safetensors\*"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"\x08\0\0\0\0\0\0\0{}      1234"), "diffusion_pytorch_model"),
        (lambda folder: edit(folder / WEIGHTS, lambda tensors: tensors.popitem()), "transformer.* is missing"),
        (
            lambda folder: edit(folder / WEIGHTS, lambda tensors: tensors.update(more=torch.zeros(2))),
            "transformer.more is not part",
        ),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_before_anything_is_touched(
    source: Path, models: Path, spoil: Spoil, message: str
) -> None:
    spoil(source)
    with pytest.raises(CheckpointError, match=message):
        list(import_folder("song", source))
    assert not models.exists()


def test_the_weights_of_another_checkpoint_are_refused(source: Path, models: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds 0.00 B parameters; xl-sft has 4.99 B"):
        list(import_folder("xl-sft", source))
    with pytest.raises(CheckpointError, match="lacks"):
        list(import_folder("writer", source))
    with pytest.raises(RequestError, match="folder = .*must be a folder that exists"):
        list(import_folder("song", source / "nowhere"))
    assert not models.exists()


def test_a_turbo_is_not_taken_for_another(source: Path) -> None:
    config = source / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"is_turbo": True}))
    with pytest.raises(CheckpointError, match="holds a turbo; song is none"):
        list(import_folder("song", source))


def test_what_is_here_already_is_not_imported_over(source: Path) -> None:
    list(import_folder("song", source))
    with pytest.raises(StudioError, match="here already"):
        list(import_folder("song", source))


@pytest.mark.parametrize("folder", PARITY, ids=lambda folder: folder.name)
def test_the_original_layout_verifies_without_its_weights_being_loaded(folder: Path) -> None:
    found = looked_over(folder)
    assert (found.kind, found.turbo) == ("song", folder.name.endswith("turbo"))
    assert found.parameters == sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())


def test_a_language_model_verifies_by_its_shapes(writer: Path) -> None:
    assert looked_over(writer).kind == "language model"
    edit(writer / "model.safetensors", lambda tensors: tensors.update({"model.norm.weight": torch.zeros(3)}))
    with pytest.raises(CheckpointError, match=r"model.norm.weight is \(3,\), not \(16,\)"):
        looked_over(writer)
    (writer / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(CheckpointError, match="describes no known model"):
        looked_over(writer)


def test_a_language_model_is_imported(writer: Path, models: Path) -> None:
    assert list(import_folder("writer", writer))[-1] == Installed(WRITER, models / "writer")
    assert (models / "writer" / "generation_config.json").is_file()


@pytest.mark.parametrize("path", [WEIGHTS, "tokenizer/tokenizer.json"])
def test_one_wrong_bit_is_found_and_its_file_named(source: Path, models: Path, path: str) -> None:
    list(import_folder("song", source))
    flip(models / "song" / path)
    (models / "song" / "vae" / "config.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        looked_over(models / "song")
    assert path in caught.value.message
    assert "vae/config.json (missing)" in caught.value.message


def test_a_cut_off_file_is_named_even_without_a_checksum(source: Path) -> None:
    content = (source / WEIGHTS).read_bytes()
    (source / WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} cannot be read"):
        looked_over(source)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_that_holds_no_checkpoint_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudioError, match="must be a folder that exists|holds no checkpoint"):
        looked_over(tmp_path / name)


def test_remove_takes_what_the_studio_put_there_and_nothing_else(source: Path, models: Path) -> None:
    list(import_folder("song", source))
    (models / "song" / "vae" / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="consent = False: must be given: 0.00 GB are removed"):
        remove("song", consent=False)
    removed = remove("song", consent=True)
    assert (removed.files, removed.kept) == (14, ("vae/mine.txt",))
    assert [path.name for path in models.rglob("*") if path.is_file()] == ["mine.txt"]
    assert (source / WEIGHTS).is_file()


def test_remove_leaves_no_folder_when_nothing_else_is_in_it(source: Path, models: Path) -> None:
    list(import_folder("song", source))
    remove("song", consent=True)
    assert list(models.iterdir()) == []
    with pytest.raises(StudioError, match="not on this machine"):
        remove("song", consent=True)


def test_what_the_studio_did_not_put_there_is_not_removed(source: Path, models: Path) -> None:
    shutil.copytree(source, models / "song")
    with pytest.raises(StudioError, match="did not put song into"):
        remove("song", consent=True)
    assert find.locate(SONG) is not None


@pytest.mark.parametrize("path", ["../../precious", "/etc/passwd", ""])
def test_a_record_that_leads_out_of_its_folder_is_refused(models: Path, tmp_path: Path, path: str) -> None:
    (models / "song").mkdir(parents=True)
    (tmp_path / "precious").write_text("mine")
    told = {"schema": 1, "checkpoint": "song", "source": "", "files": [{"path": path, "bytes": 4, "digest": "sha256:"}]}
    (models / "song" / manifest.NAME).write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match="leads out of the folder"):
        remove("song", consent=True)
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.fixture
def pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pickle that stems were published as before, and a row that knows it to the byte."""
    path = save_pickle(tmp_path / "torch", package(tiny_network()))
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    known = Kept(path=path.name, bytes=path.stat().st_size, digest=digest)
    row = dataclasses.replace(
        table.CHECKPOINTS["htdemucs"], files=(f"{SIGNATURE}.safetensors",), other_files=(path.name,), pinned=(known,)
    )
    monkeypatch.setattr(table, "CHECKPOINTS", {"htdemucs": row, "companion": table.CHECKPOINTS["companion"]})
    return path


def test_a_pickle_is_imported_used_as_safetensors_and_removed_with_them(pickled: Path, models: Path) -> None:
    place = list(import_folder("htdemucs", pickled.parent))[-1]
    assert isinstance(place, Installed) and place == find.checkpoint("htdemucs")
    open_separator(place.folder, "cpu", digests=place.checkpoint.digests).close()
    assert {path.name for path in place.folder.glob("0*")} == {pickled.name, f"{SIGNATURE}.safetensors"}
    assert looked_over(place.folder).parameters > 10_000
    assert remove("htdemucs", consent=True).files == 2
    assert not place.folder.exists() and pickled.is_file()


def test_either_file_of_the_stems_weights_is_found(pickled: Path, models: Path) -> None:
    row = table.row("htdemucs")
    for name in (*row.files, *row.other_files):
        assert find.locate(row) is None
        folder = models / "htdemucs"
        folder.mkdir(parents=True)
        (folder / name).touch()
        assert find.installed("stems") == (row,)
        shutil.rmtree(folder)


def test_a_pickle_of_another_content_is_not_imported(pickled: Path, models: Path) -> None:
    pickled.write_bytes(pickled.read_bytes()[::-1])
    with pytest.raises(CheckpointError, match="is not the file that htdemucs is known by"):
        list(import_folder("htdemucs", pickled.parent))
    assert not [path for path in models.rglob("*") if path.is_file()]
    assert find.locate(table.row("htdemucs")) is None and pickled.is_file()


def test_the_command_line_imports_verifies_and_removes(
    source: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: str) -> dict[str, object]:
        assert cli.main(["checkpoints", *arguments]) == 0
        line: dict[str, object] = json.loads(capsys.readouterr().out)
        return line

    assert told("import", "song", str(source)) == {"checkpoint": "song", "folder": str(models / "song")}
    found = told("verify", "song")
    assert (found["folder"], found["kind"], found["checksums"]) == (str(models / "song"), "song", 14)
    assert cli.main(["checkpoints", "remove", "song"]) == 2
    assert "consent" in capsys.readouterr().err
    assert told("remove", "song", "--yes")["files"] == 14
    (source / WEIGHTS).write_bytes(b"")
    assert cli.main(["checkpoints", "verify", str(source)]) == 1
    assert WEIGHTS in capsys.readouterr().err
