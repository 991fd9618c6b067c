"""MusicGen on random weights: what it draws is what transformers draws, and it takes the road that every song takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from numpy.typing import NDArray
from transformers import (
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
)

from backend import Settings, Studio
from checkpoints import find
from checkpoints.manage import verify
from checkpoints.table import CHECKPOINTS, Checkpoint
from cli import main as cli
from core.errors import CheckpointError, RequestError
from core.events import Progress
from core.knobs import knobs_of, parse, to_json
from core.music import Music
from core.params import SONG_MODES, PlanRequest
from core.steps import finished
from core.tables import SAMPLE_RATE
from jobs.models import Models
from jobs.musicgen import text_of
from jobs.work import Need
from library import audio
from library.records import Track
from networks.machine import Machine
from networks.musicgen import model
from networks.musicgen.chroma import ChromaShape, one_hot_chroma
from networks.musicgen.model import Choice, MusicGen
from networks.musicgen.open import opening
from networks.musicgen.windows import Window, windows
from tests.tiny_musicgen import save_musicgen
from ui.handlers import Handlers
from ui.models import facts

pytestmark = pytest.mark.usefixtures("one_thread")

RATIOS = (10, 8, 8, 10)
"""Of the small EnCodec: five frames a second, where the published one has fifty."""
FRAMES_HZ = 5
FAMILIES: dict[str, dict[str, Any]] = {
    "musicgen-small": {},
    "musicgen-stereo-small": {"stereo": True},
    "musicgen-melody": {"melody": True},
    "musicgen-stereo-melody": {"melody": True, "stereo": True},
}
WORDS = "lofi piano with rain"
WEIGHED = [
    CHECKPOINTS[f"musicgen-{size}"]
    for size in ("small", "medium", "large", "melody", "melody-large", "stereo-small", "stereo-melody-large")
]
Wave = NDArray[np.float32]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which a small one of each family is installed."""
    folder = tmp_path_factory.mktemp("models")
    for name, made in FAMILIES.items():
        save_musicgen(folder / name, ratios=RATIOS, **made)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ACE_MODELS_DIR", str(folder))
        patched.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
        yield folder


@pytest.fixture(scope="module")
def shared(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = Studio(Settings(machine=Machine(device="cpu"), outputs=tmp_path_factory.mktemp("songs")))
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def song(shared: Studio) -> Track:
    (made,) = songs_of(shared, "generate", prompt=WORDS, duration_s=6, seed=3)
    return made


def loaded(models: Path, name: str) -> MusicGen:
    return finished(opening(models / name, device="cpu"))


def request_of(mode: str, **values: Any) -> Any:
    return parse(SONG_MODES[mode], {"checkpoint": "musicgen-small", **values})  # type: ignore[index]


def songs_of(studio: Studio, mode: str, *, fresh: bool = False, **values: Any) -> list[Track]:
    events = studio.run(request_of(mode, **{"guidance_scale": 2.0, **values}), fresh=fresh)
    return [event for event in events if isinstance(event, Track)]


def tune() -> Wave:
    """Twelve seconds of one note after the other, each with an octave and a fifth above it, `(S,)` at 32 kHz."""
    second = np.arange(32_000) / 32_000
    tones = []
    for note in (60, 64, 67, 71, 62, 57, 66, 69, 58, 73, 61, 75):
        hz = [440 * 2 ** ((note + above - 69) / 12) for above in (0, 12, 19)]
        tones.append(sum(np.sin(2 * np.pi * each * second) / (index + 1) for index, each in enumerate(hz)))
    return np.concatenate(tones).astype(np.float32)


def noise(seconds: float, seed: int = 0) -> Wave:
    made = np.random.default_rng(seed).standard_normal((2, round(seconds * SAMPLE_RATE))) / 10
    return made.astype(np.float32)


# ---- transformers draws the same -------------------------------------------------------------------------------------


def transformers_tokens(
    networks: MusicGen, seed: int, frames: int, prompt: NDArray[np.int64], melody: Wave | None, **how: Any
) -> tuple[NDArray[np.int64], Wave]:
    """(tokens `(K, T)`, sound `(C, S)` at 32 kHz) of transformers' own `generate`."""
    network: Any = networks.network
    inputs = dict(networks.tokenizer([WORDS], return_tensors="pt"))
    if melody is not None:
        chroma = networks.chroma_of(melody)
        assert chroma is not None
        inputs["input_features"] = chroma[None]
    if prompt.shape[1]:
        inputs["decoder_input_ids"] = torch.from_numpy(prompt)
    heard: list[torch.Tensor] = []
    decode = network.audio_encoder.decode

    def listening(codes: torch.Tensor, **more: Any) -> Any:
        heard.append(codes[0, 0])
        return decode(codes, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(network.audio_encoder, "decode", listening)
        torch.manual_seed(seed)
        length = prompt.shape[1] + frames + networks.codebooks // networks.channels
        sound = network.generate(**inputs, max_length=length, **how)
    return torch.stack(heard, dim=1).flatten(0, 1).numpy(), sound[0].numpy()


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_and_sound_are_those_of_transformers_with_the_same_seed(
    models: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "TILE_FRAMES", 11)
    networks = loaded(models, name)
    melody = noise(3) if networks.takes_melody else None
    condition = networks.condition(WORDS, melody)
    none = np.zeros((networks.codebooks, 0), dtype=np.int64)
    for seed, prompt, choice, how in (
        (7, none, Choice(temperature=0.8, top_k=20), {"do_sample": True, "temperature": 0.8, "top_k": 20}),
        (8, networks.encode(noise(2)), Choice(guidance=2.5), {"do_sample": True, "guidance_scale": 2.5, "top_k": 250}),
        (9, none, Choice(guidance=1, top_k=0), {"do_sample": True, "guidance_scale": 1.0, "top_k": 0}),
        (0, none, Choice(temperature=0), {"do_sample": False}),
    ):
        tokens, sound = transformers_tokens(networks, seed, 15, prompt, melody, **{"guidance_scale": 3.0, **how})
        drawn = finished(networks.drawing(condition, prompt[None], 15, choice, networks.rngs([seed])))[0]
        assert drawn.shape == (networks.codebooks, prompt.shape[1] + 15)
        assert np.array_equal(drawn, tokens)
        assert np.array_equal(drawn[:, : prompt.shape[1]], prompt)
        made = finished(networks.decoding(drawn))
        expected = audio.resample(sound, 32_000, SAMPLE_RATE)
        np.testing.assert_allclose(made[: len(expected)], expected, atol=1e-5)
        assert len(expected) == 2 or np.array_equal(made[0], made[1])


def test_a_melody_is_heard_as_transformers_extractor_hears_it() -> None:
    """The expected classes are those of `MusicgenMelodyFeatureExtractor` of transformers 5.24 with torchaudio 2.11."""
    heard = one_hot_chroma(torch.from_numpy(tune()), ChromaShape())
    classes = [0] * 8 + [4] * 8 + [7] * 8 + [11] * 8 + [2] * 8 + [9] * 7 + [6] * 8 + [9] * 8 + [10] * 8
    assert heard.argmax(dim=1).tolist() == classes + [1] * 15 + [3] * 8
    assert torch.equal(heard.sum(dim=1), torch.ones(len(heard)))
    assert one_hot_chroma(torch.from_numpy(noise(0.1)[0]), ChromaShape()).shape == (5, 12)


def test_windows_go_on_from_what_is_kept_and_leave_no_frame_out() -> None:
    assert list(windows(0, 300, 300, 100)) == [Window(0, 0, 300)]
    assert list(windows(0, 520, 300, 100)) == [Window(0, 0, 300), Window(200, 300, 500), Window(400, 500, 520)]
    assert list(windows(60, 400, 300, 100)) == [Window(0, 60, 300), Window(200, 300, 400)]
    assert list(windows(0, 0, 300, 100)) == []


def test_tempo_and_key_follow_the_words_as_in_training() -> None:
    assert text_of(Music(caption="lofi, rain.", bpm=96, keyscale="A minor")) == "lofi, rain. bpm: 96. key: a minor"
    assert text_of(Music(bpm=120)) == "bpm: 120"


# ---- songs -----------------------------------------------------------------------------------------------------------


def test_a_long_song_is_drawn_window_by_window_from_tokens_that_stay_as_they_are(shared: Studio, models: Path) -> None:
    events = list(shared.run(request_of("generate", prompt=WORDS, duration_s=31.3, seed=5, top_k=30)))
    (track,) = (event for event in events if isinstance(event, Track))
    told = [event for event in events if isinstance(event, Progress) and event.stage == "generating"]
    assert [event.step for event in told][-1] == told[-1].total == 157
    assert {event.note for event in told} == {f"generating, window {number} of 2" for number in (1, 2)}
    made = audio.load(track.path)
    assert made.shape == (2, round(31.3 * SAMPLE_RATE))

    networks = loaded(models, "musicgen-small")
    condition, rngs, choice = networks.condition(WORDS), networks.rngs([5]), Choice(top_k=30)
    none = np.zeros((1, 4, 0), dtype=np.int64)
    first = finished(networks.drawing(condition, none, 150, choice, rngs))
    second = finished(networks.drawing(condition, first[:, :, 100:], 7, choice, rngs))
    assert np.array_equal(second[:, :, :50], first[:, :, 100:])
    whole = np.concatenate([first, second[:, :, 50:]], axis=2)[0]
    expected = audio.limit_peak(finished(networks.decoding(whole)))[:, : made.shape[1]]
    np.testing.assert_allclose(made, expected, atol=1e-4)
    assert (track.values["temperature"], track.values["top_k"], track.values["guidance_scale"]) == (1.0, 30, 3.0)
    assert (track.values["inference_steps"], track.values["instrumental"], track.plan["planner"]) == (
        None,
        True,
        "none",
    )
    assert not track.notes and not track.latents_path.exists()


def test_a_seed_gives_the_same_song_and_variations_count_up_from_it(shared: Studio, song: Track) -> None:
    (again,) = songs_of(shared, "generate", prompt=WORDS, duration_s=6, seed=3)
    assert again.id == song.id
    (anew,) = songs_of(shared, "generate", prompt=WORDS, duration_s=6, seed=3, fresh=True)
    assert anew.id != song.id and np.array_equal(audio.load(anew.path), audio.load(song.path))
    first, second = songs_of(shared, "generate", prompt=WORDS, duration_s=6, seed=2, variations=2)
    assert (first.seed, second.seed) == (2, 3)
    np.testing.assert_allclose(audio.load(second.path), audio.load(song.path), atol=1e-4)
    changes: tuple[dict[str, Any], ...] = (
        {"seed": 4},
        {"prompt": "techno"},
        {"bpm": 96},
        {"temperature": 0},
        {"top_k": 2},
        {"guidance_scale": 9},
    )
    for change in changes:
        (other,) = songs_of(shared, "generate", **{"prompt": WORDS, "duration_s": 6, "seed": 3, **change})
        assert not np.array_equal(audio.load(other.path), audio.load(song.path)), change


def test_a_cancel_comes_between_two_tokens_and_the_next_song_is_made(shared: Studio) -> None:
    events = shared.run(request_of("generate", prompt=WORDS, duration_s=120, seed=6))
    step = next(event for event in events if isinstance(event, Progress) and event.stage == "generating")
    assert step.step < step.total == 120 * FRAMES_HZ
    events.close()
    assert len(songs_of(shared, "generate", prompt=WORDS, duration_s=5, seed=6)) == 1


def test_an_extension_goes_on_from_the_end_of_its_source_and_leaves_it_as_it_is(
    shared: Studio, song: Track, models: Path
) -> None:
    values: dict[str, Any] = {"prompt": WORDS, "seed": 8, "extra_duration_s": 5.5, "overlap_s": 1.6, "crossfade_s": 0.5}
    (longer,) = songs_of(shared, "extend", src_audio=str(song.path), **values)
    source, made = audio.load(song.path), audio.load(longer.path)
    start, fade = round(4.4 * SAMPLE_RATE), round(0.5 * SAMPLE_RATE)
    assert (longer.window_start_s, longer.window_end_s, made.shape) == (4.4, 11.5, (2, round(11.5 * SAMPLE_RATE)))
    assert np.array_equal(made[:, : start - fade], source[:, : start - fade])

    networks = loaded(models, "musicgen-small")
    known = networks.encode(source[:, :start])
    assert known.shape == (4, 22)
    steps = networks.drawing(networks.condition(WORDS), known[None], 36, Choice(guidance=2.0), networks.rngs([8]))
    sound = finished(networks.decoding(finished(steps)[0]))
    np.testing.assert_allclose(made[:, start:], sound.clip(-1, 1)[:, start : made.shape[1]], atol=1e-4)


def test_a_cover_takes_the_melody_of_its_source_and_its_length(shared: Studio, song: Track, tmp_path: Path) -> None:
    both = (np.stack([tune(), tune()]) / 4).astype(np.float32)
    melody = audio.resample(both, 32_000, SAMPLE_RATE)
    sources = {"tune": melody[:, : 6 * SAMPLE_RATE], "later": melody[:, -6 * SAMPLE_RATE :]}
    covers = {}
    for name, wave in sources.items():
        path = tmp_path / f"{name}.wav"
        audio.save_wav(path, wave)
        for checkpoint in ("musicgen-melody", "musicgen-stereo-melody"):
            (made,) = songs_of(shared, "cover", checkpoint=checkpoint, prompt=WORDS, src_audio=str(path), seed=1)
            covers[name, checkpoint] = audio.load(made.path)
            assert covers[name, checkpoint].shape == wave.shape
    for checkpoint in ("musicgen-melody", "musicgen-stereo-melody"):
        assert not np.array_equal(covers["tune", checkpoint], covers["later", checkpoint])
    assert not np.array_equal(*covers["tune", "musicgen-stereo-melody"])
    audio.save_wav(tmp_path / "short.wav", melody[:, : 4 * SAMPLE_RATE])
    with pytest.raises(RequestError, match=r"src_audio = 4.0: must be 5 to 120 seconds"):
        songs_of(shared, "cover", checkpoint="musicgen-melody", src_audio=str(tmp_path / "short.wav"))


# ---- what it cannot do -----------------------------------------------------------------------------------------------


def test_what_musicgen_cannot_do_is_refused_with_the_reason(shared: Studio, song: Track) -> None:
    source: dict[str, Any] = {"src_audio": str(song.path)}
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("generate", {"lyrics": "la"}, "lyrics = 'la': MusicGen sings no words"),
        ("generate", {"inference_steps": 8}, "draws tokens of sound"),
        ("generate", {"solver": "heun"}, "draws tokens of sound"),
        ("generate", {"plan": "bpm: 90"}, "MusicGen plans nothing"),
        ("generate", {"adapters": "warm"}, "no adapters for MusicGen"),
        ("generate", {"timesignature": "3"}, "none for a metre"),
        ("generate", {"duration_s": 121}, "duration_s = 121.0: must be 5 to 120 seconds"),
        ("generate", {"temperature": 0, "top_k": 5}, "needs a temperature above 0"),
        ("generate", {"checkpoint": "nano", "duration_s": 7}, "duration_s = 7.0: must be 10 to 600 seconds"),
        ("generate", {"checkpoint": "nano", "temperature": 0.5}, "denoised, not drawn token by token"),
        ("extend", {**source, "side": "before"}, "cannot lead up to what comes after"),
        ("edit", source, "cannot edit: MusicGen goes on from what was before"),
        ("cover", source, "cannot cover: only MusicGen's melody checkpoints"),
        ("cover", {**source, "checkpoint": "musicgen-melody", "task_type": "lego", "tracks": "drums"}, "single tracks"),
        ("cover", {**source, "checkpoint": "musicgen-melody", "cover_structure": "latents"}, "its melody alone"),
    ]
    for mode, values, reason in refused:
        with pytest.raises(RequestError, match=reason):
            songs_of(shared, mode, **{"prompt": WORDS, "guidance_scale": None, **values})
    plan = parse(PlanRequest, {"checkpoint": "musicgen-small", "prompt": WORDS})
    with pytest.raises(RequestError, match="must plan its songs"):
        list(shared.run(plan))


def test_no_knob_of_a_musicgen_is_silent(shared: Studio) -> None:
    """Whatever is neither muted nor heard would be a knob that does nothing."""
    alive = {"prompt", "bpm", "keyscale", "checkpoint", "seed", "guidance_scale", "variations", "temperature", "top_k"}
    own = {"generate": {"duration_s"}, "cover": {"src_audio"}}
    own["extend"] = {"src_audio", "extra_duration_s", "overlap_s", "crossfade_s"}
    muted = shared.recipe("musicgen-melody").muted
    for mode, more in own.items():
        names = {knob.name for knob in knobs_of(SONG_MODES[mode])}  # type: ignore[index]
        assert names - set(muted) == alive | more, mode


# ---- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", WEIGHED, ids=lambda row: row.name)
def test_a_row_weighs_what_its_networks_weigh_in_float32(row: Checkpoint) -> None:
    network = published(row.name)
    sizes = {key: 4 * prod(value.shape) for key, value in network.state_dict().items() if key not in TIED}
    assert sum(sizes.values()) == pytest.approx(row.bytes, rel=0.01)
    assert row.parameters == pytest.approx(sum(each.numel() for each in network.parameters()) / 1e9, rel=0.002)
    recipe = shared_recipe(row)
    assert recipe.token_billions == pytest.approx(
        sum(each.numel() for each in network.decoder.parameters()) / 1e9, rel=0.002
    )
    assert (network.config.audio_encoder.sampling_rate, network.config.audio_encoder.frame_rate) == (32_000, 50)


def test_the_second_shard_of_large_is_as_large_as_published() -> None:
    """A pickle of 3,731,557,007 bytes, told by people who have it; about 120 bytes of it name and place each tensor."""
    state = published("musicgen-large").state_dict()
    sizes = {key: 4 * prod(value.shape) for key, value in state.items() if key not in TIED}
    filled, rest = 4 * 2048 * 2048, 0  # older versions of transformers stored the positions too, in the first file
    for size in sizes.values():
        if rest == 0 and filled + size <= 10_000_000_000:
            filled += size
        else:
            rest += size
    assert 0 < 3_731_557_007 - rest < 40_000


TIED = ("text_encoder.encoder.embed_tokens.weight",)
"""The same tensor as `text_encoder.shared.weight`, and stored once."""


def shared_recipe(row: Checkpoint) -> Any:
    assert row.recipe is not None
    return row.recipe


def published(name: str) -> Any:
    """The networks of a published checkpoint without memory, by the configurations of its conversion."""
    size = name.split("-")[-1]
    width, layers, heads = {"small": (1024, 24, 16), "medium": (1536, 48, 24), "melody": (1536, 48, 24)}.get(
        size, (2048, 48, 32)
    )
    stereo, melody = "stereo" in name, "melody" in name
    facts: dict[str, Any] = {"hidden_size": width, "ffn_dim": 4 * width, "num_hidden_layers": layers}
    facts |= {"num_attention_heads": heads, "num_codebooks": 8 if stereo else 4, "audio_channels": 1 + stereo}
    words = T5Config(d_model=768, d_ff=3072, d_kv=64, num_layers=12, num_heads=12, vocab_size=32_128)
    codec = EncodecConfig(
        sampling_rate=32_000, num_filters=64, upsampling_ratios=[8, 5, 4, 4], codebook_size=2048, codebook_dim=128,
        target_bandwidths=[2.2], use_causal_conv=False, use_conv_shortcut=False, audio_channels=1,
    )  # fmt: skip
    with torch.device("meta"):
        if melody:
            decoder: Any = MusicgenMelodyDecoderConfig(**facts)
            return MusicgenMelodyForConditionalGeneration(
                MusicgenMelodyConfig(text_encoder=words, audio_encoder=codec, decoder=decoder)
            )
        return MusicgenForConditionalGeneration(
            MusicgenConfig(text_encoder=words, audio_encoder=codec, decoder=MusicgenDecoderConfig(**facts))
        )


def test_the_licence_is_told_before_anything_is_brought(
    shared: Studio, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["checkpoints", "download", "musicgen-medium"]) == 2
    assert "MusicGen medium is 8.0 GB, licence CC-BY-NC-4.0" in capsys.readouterr().err
    assert cli.main(["checkpoints", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert all("CC-BY-NC-4.0" in line for line in listed if line.startswith("musicgen-"))
    rows = {row["name"]: row for use in facts(Handlers(shared, hosted=False))["uses"] for row in use["rows"]}
    (download,) = rows["musicgen-large"]["can"]
    assert "CC-BY-NC-4.0" in rows["musicgen-large"]["facts"]
    assert "CC-BY-NC-4.0" in download["terms"] and "facebook/musicgen-large" in download["terms"]


def test_the_command_line_renders_with_an_installed_musicgen(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACE_OUTPUTS_DIR", str(tmp_path / "outputs"))
    assert find.default().name == "nano"
    flags = ["--checkpoint", "musicgen-small", "--prompt", WORDS, "--duration-s", "5", "--seed", "1", "--out", "a.wav"]
    assert cli.main(["generate", *flags]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert (report["checkpoint"], report["seconds"], report["seed"]) == ("musicgen-small", 5.0, 1)
    assert "generating" in printed.err and (tmp_path / "a.wav").is_file()


def test_musicgen_is_verified_weighed_and_runs_on_torch_alone(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(verify(models / "musicgen-melody"))[-1]
    assert getattr(found, "kind", "") == "files"
    need = Need("song", find.checkpoint("musicgen-melody"))
    machine = Models(Machine(device="cpu", runtime="mlx", bits=8), units=False).machine_for(need)
    assert (machine.runtime, machine.bits) == ("torch", None)
    halves = finished(opening(models / "musicgen-melody", device="cpu", dtype="bfloat16"))
    kinds = {key.partition(".")[0]: value.dtype for key, value in halves.network.named_parameters()}
    assert kinds["decoder"] == kinds["text_encoder"] == kinds["enc_to_dec_proj"] == torch.bfloat16
    assert kinds["audio_encoder"] == torch.float32
    tokens = finished(
        halves.drawing(halves.condition(WORDS), np.zeros((1, 4, 0), np.int64), 5, Choice(), halves.rngs([0]))
    )
    assert tokens.shape == (1, 4, 5)


def test_what_is_no_whole_musicgen_is_refused_by_name(models: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(CheckpointError, match="is no MusicGen"):
        finished(opening(tmp_path))
    for path in (models / "musicgen-small").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    from safetensors.torch import load_file, save_file

    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["decoder.lm_heads.0.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors, decoder\.lm_heads\.0\.weight first"):
        finished(opening(tmp_path))


def test_a_song_says_what_it_was_asked(song: Track) -> None:
    asked = parse(SONG_MODES["generate"], song.asked())
    assert to_json(asked) == song.asked()
