"""What every runtime must do, on a tiny whole checkpoint; to add a runtime, add its name to RUNTIMES."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.music import Music
from networks.acestep.open import open_runtime
from networks.acestep.prompts import instruction_of, lyric_text, prompt_text
from networks.acestep.runtime import SILENT_REFERENCE_FRAMES, Runtime, reference_excerpt
from networks.acestep.sampler import DenoiseInputs, Guidance, View, denoise, noise_levels
from networks.acestep.tiling import receptive_frames, tiles
from networks.acestep.torch.dit import cache_cross_attention
from networks.acestep.torch.parts import load_parts
from networks.acestep.torch.runtime import TorchRuntime
from networks.machine import RUNTIMES, DType, RuntimeName
from tests.parity import GOLDENS, REORDERED, Golden, relative_error
from tests.tiny import CHANNELS, RATE, save_tiny

TOLERANCE = 5e-4

TEXT = prompt_text(instruction_of("text2music"), Music(caption="calm piano", bpm=90, duration_s=4))
LONGER = prompt_text(
    instruction_of("text2music"), Music(caption="loud drums, and a choir of a hundred voices", duration_s=4)
)
WORDS = lyric_text("en", "[verse]\nhello")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(folder: Path, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    opened = open_runtime(folder, runtime=request.param, device="cpu", dtype="float32")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def torch_runtime(folder: Path) -> TorchRuntime:
    opened = open_runtime(folder, runtime="torch", device="cpu", dtype="float32")
    assert isinstance(opened, TorchRuntime)
    return opened


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def context(frames: int, batch: int = 1) -> Tensor:
    return noise(batch, frames, 2 * CHANNELS, seed=3)


# ---- latents and waveforms -------------------------------------------------------------------------------------------


def test_the_shape_is_read_from_the_checkpoint(runtime: Runtime) -> None:
    shape = runtime.shape
    assert (shape.channels, shape.hop, shape.sample_rate, shape.patch) == (CHANNELS, 8, RATE, 2)
    assert (shape.frames_hz, shape.frames_per_code, shape.codebook_size) == (200, 5, 64000)
    assert [shape.frames_of(samples) for samples in (1, 8, 9)] == [1, 1, 2]


@pytest.mark.parametrize("samples", [1, 7, 8, 9, 8 * 218, 8 * 243 + 1])
def test_a_waveform_of_any_length_has_exactly_the_frames_that_hold_it(runtime: Runtime, samples: int) -> None:
    latents = runtime.encode(noise(1, 2, samples))
    assert latents.shape == (1, runtime.shape.frames_of(samples), CHANNELS)
    assert runtime.decode(latents).shape == (1, 2, latents.shape[1] * runtime.shape.hop)


def test_encoding_is_deterministic(runtime: Runtime) -> None:
    wave = noise(1, 2, 800)
    assert torch.equal(runtime.encode(wave), runtime.encode(wave))


def test_encoding_and_decoding_do_not_depend_on_how_much_follows(runtime: Runtime) -> None:
    wave = noise(1, 2, 34 * RATE)  # two songs of other lengths are cut into other tiles
    longer, shorter = runtime.encode(wave), runtime.encode(wave[..., : 23 * RATE])
    inner = 22 * 200
    assert relative_error(longer[:, :inner], shorter[:, :inner]) <= TOLERANCE
    longer, shorter = runtime.decode(longer), runtime.decode(longer[:, : 23 * 200])
    assert relative_error(longer[..., : inner * 8], shorter[..., : inner * 8]) <= TOLERANCE


def test_items_of_a_batch_do_not_touch_each_other(runtime: Runtime) -> None:
    waves = noise(2, 2, 900)
    latents = runtime.encode(waves)
    assert relative_error(latents[1:], runtime.encode(waves[1:])) <= TOLERANCE
    assert relative_error(runtime.decode(latents)[1:], runtime.decode(latents[1:])) <= TOLERANCE


def test_silence_is_as_long_as_asked(runtime: Runtime) -> None:
    assert runtime.silence(3).shape == (1, 3, CHANNELS)
    assert torch.equal(runtime.silence(15_002)[:, 15_000:], runtime.silence(2))


# ---- codes -----------------------------------------------------------------------------------------------------------


def test_codes_cover_every_frame_and_stay_within_the_codebook(runtime: Runtime) -> None:
    latents = 3 * noise(2, 12, CHANNELS)
    codes = runtime.latents_to_codes(latents)
    assert codes.shape == (2, 3)
    assert int(codes.min()) >= 0
    assert int(codes.max()) < runtime.shape.codebook_size
    assert len(set(codes.flatten().tolist())) > 1
    assert runtime.codes_to_latents(codes).shape == (2, 15, CHANNELS)


def test_a_rest_shorter_than_a_code_is_filled_up_with_silence(runtime: Runtime) -> None:
    latents = 3 * noise(1, 12, CHANNELS)
    filled = torch.cat([latents, runtime.silence(3)], dim=1)
    assert torch.equal(runtime.latents_to_codes(latents), runtime.latents_to_codes(filled))


# ---- conditions and velocities ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 2, 7, 40, 41])
def test_one_forward_over_two_conditions_is_two_forwards(runtime: Runtime, frames: int) -> None:
    x, shown = noise(2, frames, CHANNELS), context(frames, 2)
    given = [runtime.condition([TEXT], [WORDS]), runtime.null_condition()]
    together = runtime.velocity(x, 0.7, shown, given)
    for condition, answer in zip(given, together, strict=True):
        (alone,) = runtime.velocity(x, 0.7, shown, [condition])
        assert answer.shape == x.shape
        assert relative_error(answer, alone) <= TOLERANCE
    assert relative_error(together[0], together[1]) > 0.01


def test_prompts_of_different_lengths_in_one_batch_sound_as_they_do_alone(runtime: Runtime) -> None:
    x, shown = noise(2, 20, CHANNELS), context(20)
    both = runtime.condition([TEXT, LONGER], [WORDS, lyric_text("unknown", "")])
    assert both.items == 2
    (together,) = runtime.velocity(x, 0.4, shown, [both])
    (alone,) = runtime.velocity(x[:1], 0.4, shown, [runtime.condition([TEXT], [WORDS])])
    assert relative_error(together[:1], alone) <= TOLERANCE


def test_one_prompt_for_all_variations_is_encoded_once(runtime: Runtime) -> None:
    x, shown = noise(3, 20, CHANNELS), context(20)
    shared = runtime.condition([TEXT] * 3, [WORDS] * 3)
    assert shared.items == 1
    (together,) = runtime.velocity(x, 0.4, shown, [shared])
    (alone,) = runtime.velocity(x[2:], 0.4, shown, [runtime.condition([TEXT], [WORDS])])
    assert relative_error(together[2:], alone) <= TOLERANCE


def test_words_references_context_and_noise_level_reach_the_velocity(runtime: Runtime) -> None:
    x, shown = noise(1, 20, CHANNELS), context(20)
    reference = noise(1, 60, CHANNELS, seed=5)

    def answer(text: str = TEXT, words: str = WORDS, timbre: Tensor | None = None, t: float = 0.5) -> Tensor:
        (v,) = runtime.velocity(x, t, shown, [runtime.condition([text], [words], [timbre])])
        return v

    base = answer()
    assert relative_error(answer(text=LONGER), base) > 1e-3
    assert relative_error(answer(words=lyric_text("en", "[chorus]\nbye")), base) > 1e-3
    assert relative_error(answer(timbre=reference), base) > 1e-3
    assert relative_error(answer(t=0.6), base) > 1e-3
    (other,) = runtime.velocity(x, 0.5, -shown, [runtime.condition([TEXT], [WORDS])])
    assert relative_error(other, base) > 1e-3


def test_no_reference_is_thirty_seconds_of_silence(runtime: Runtime) -> None:
    x, shown = noise(1, 20, CHANNELS), context(20)
    none = runtime.condition([TEXT], [WORDS], [None])
    silent = runtime.condition([TEXT], [WORDS], [runtime.silence(SILENT_REFERENCE_FRAMES)])
    (a,), (b,) = (runtime.velocity(x, 0.5, shown, [condition]) for condition in (none, silent))
    assert torch.equal(a, b)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_every_row_of_a_batch_gets_its_own_finite_velocity(runtime: Runtime, batch: int) -> None:
    x, shown = noise(batch, 13, CHANNELS), context(13)
    both = runtime.velocity(x, 0.4, shown, [runtime.condition([TEXT], [WORDS]), runtime.null_condition()])
    assert [answer.shape for answer in both] == [(batch, 13, CHANNELS)] * 2
    assert all(answer.dtype == torch.float32 and bool(answer.isfinite().all()) for answer in both)
    (alone,) = runtime.velocity(x[-1:], 0.4, shown, [runtime.null_condition()])
    assert relative_error(both[1][-1:], alone) <= TOLERANCE


# ---- beginning and end -----------------------------------------------------------------------------------------------


def answer_of(runtime: Runtime) -> Tensor:
    (v,) = runtime.velocity(noise(1, 20, CHANNELS), 0.5, context(20), [runtime.condition([TEXT], [WORDS])])
    return v


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_that_is_opened_again_answers_the_same(folder: Path, name: RuntimeName) -> None:
    answers = []
    for _ in range(2):
        opened = open_runtime(folder, runtime=name, device="cpu", dtype="float32")
        answers.append(answer_of(opened))
        opened.close()
        opened.close()  # twice is once
    assert torch.equal(answers[0], answers[1])


def test_a_denoising_that_is_dropped_half_way_leaves_nothing_behind(runtime: Runtime) -> None:
    before = answer_of(runtime)
    inputs = DenoiseInputs(
        levels=noise_levels("linear", 6, 1.0),
        view=View(context=context(20), condition=runtime.condition([LONGER], [WORDS])),
        guidance=Guidance(null=runtime.null_condition(), scale=3.0),
    )
    steps = denoise(runtime.velocity, noise(1, 20, CHANNELS), inputs, lambda _: noise(1, 20, CHANNELS))
    next(steps)
    next(steps)
    assert isinstance(steps, Generator)
    steps.close()
    assert torch.equal(answer_of(runtime), before)


def test_what_was_held_at_the_most_is_told(runtime: Runtime) -> None:
    answer_of(runtime)
    assert 0 < runtime.peak_gb() < 100


def test_a_runtime_that_rested_answers_the_same(runtime: Runtime) -> None:
    latents = noise(1, 6, CHANNELS)
    before = runtime.decode(latents)
    runtime.rest()
    assert torch.equal(runtime.decode(latents), before)


def test_a_runtime_says_where_it_runs(runtime: Runtime) -> None:
    assert runtime.device_kind == "cpu"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mlx_in_half_precision_stays_near_to_itself_in_full(runtime: Runtime, folder: Path, dtype: DType) -> None:
    half = open_runtime(folder, runtime="mlx", device="cpu", dtype=dtype)
    limit = 0.02 if dtype == "float16" else 0.1
    assert 0 < relative_error(answer_of(half), answer_of(runtime)) <= limit
    wave = noise(1, 2, 800)
    assert relative_error(half.encode(wave), runtime.encode(wave)) <= TOLERANCE  # the VAE stays in float32
    half.close()


# ---- the torch runtime against diffusers -----------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [6, 41])
def test_cached_keys_and_values_give_the_velocity_of_the_stock_forward(
    torch_runtime: TorchRuntime, folder: Path, frames: int
) -> None:
    stock = load_parts(folder, None, torch.device("cpu"), torch.float32).transformer
    x, shown, t = noise(2, frames, CHANNELS), context(frames, 2), torch.full((2,), 0.3)
    condition = torch_runtime.condition([TEXT, TEXT + " "], [WORDS, WORDS])
    answers = []
    for item in range(2):
        rows = slice(item, item + 1)
        (answer,) = stock(x[rows], t[rows], t[rows], condition.states[item], shown[rows], return_dict=False)
        answers.append(answer)
    (ours,) = torch_runtime.velocity(x, 0.3, shown, [condition])
    assert relative_error(ours, torch.cat(answers)) <= REORDERED


def test_one_null_state_is_as_good_as_many(torch_runtime: TorchRuntime) -> None:
    x, shown = noise(1, 20, CHANNELS), context(20)
    null = torch_runtime.parts.condition_encoder.null_condition_emb
    many = cache_cross_attention(torch_runtime.parts.transformer, [null.expand(1, 33, -1)])
    (a,), (b,) = (torch_runtime.velocity(x, 0.5, shown, [given]) for given in (torch_runtime.null_condition(), many))
    assert relative_error(a, b) <= REORDERED


def test_tiles_equal_the_whole(torch_runtime: TorchRuntime) -> None:
    wave, vae = noise(1, 2, 31 * RATE), torch_runtime.parts.vae
    with torch.no_grad():
        whole = vae.encode(wave).latent_dist.mode().transpose(1, 2)
        sound = vae.decode(whole.transpose(1, 2)).sample
    assert relative_error(torch_runtime.encode(wave), whole) <= REORDERED
    assert relative_error(torch_runtime.decode(whole), sound) <= REORDERED


def test_the_vae_stays_in_float32_when_the_rest_does_not(folder: Path) -> None:
    half = open_runtime(folder, device="cpu", dtype="bfloat16")
    assert isinstance(half, TorchRuntime)
    assert {parameter.dtype for parameter in half.parts.vae.parameters()} == {torch.float32}
    assert half.parts.transformer.proj_in_conv.weight.dtype == torch.bfloat16
    (v,) = half.velocity(noise(1, 9, CHANNELS), 0.5, context(9), [half.condition([TEXT], [WORDS])])
    assert v.dtype == torch.float32
    assert bool(v.isfinite().all())


def test_closing_frees_the_weights(folder: Path) -> None:
    opened = open_runtime(folder, device="cpu", dtype="float32")
    assert isinstance(opened, TorchRuntime)
    weights = weakref.ref(opened.parts.transformer)
    opened.close()
    opened.close()  # twice is once
    gc.collect()
    assert weights() is None


@pytest.mark.parametrize("golden", [golden for golden in GOLDENS if golden.splices], ids=lambda g: g.folder.name)
def test_xl_without_its_timbre_token_would_be_wrong(golden: Golden) -> None:
    opened = open_runtime(golden.folder, device="cpu", dtype="float32")
    assert isinstance(opened, TorchRuntime)
    timbre = opened.parts.condition_encoder.timbre_encoder
    timbre.embed_tokens = timbre.embed_tokens.project
    inputs = golden.inputs
    states = opened.condition_from_states(
        inputs["text_hidden_states"], inputs["lyric_hidden_states"], golden.references
    ).states
    assert relative_error(torch.cat(states), golden.expected["modules.encoder_hidden_states"]) > 0.1


# ---- the arithmetic of tiles and excerpts ----------------------------------------------------------------------------


def test_tiles_cover_every_frame_once_and_see_what_reaches_them() -> None:
    cut = list(tiles(1001, 250, 10))
    assert [tile.start for tile in cut[1:]] == [tile.stop for tile in cut[:-1]]
    assert (cut[0].start, cut[-1].stop, len(cut)) == (0, 1001, 5)
    assert all(tile.stop - tile.start <= 250 for tile in cut)
    assert (cut[0].left, cut[1].left, cut[1].right, cut[-1].right) == (0, cut[1].start - 10, cut[1].stop + 10, 1001)


@pytest.mark.parametrize(("ratios", "frames"), [((2, 4, 4, 6, 10), 9), ((240, 2), 25)])
def test_the_receptive_field_of_the_vae_follows_from_its_strides(ratios: tuple[int, ...], frames: int) -> None:
    assert receptive_frames(ratios) == frames


def test_the_receptive_field_is_what_the_network_really_sees(torch_runtime: TorchRuntime) -> None:
    reach, vae = receptive_frames((2, 4)), copy.deepcopy(torch_runtime.parts.vae).double()
    latents = noise(1, 4 * reach, CHANNELS).double()
    changed = latents.clone()
    changed[:, 2 * reach] += 1
    with torch.no_grad():
        moved = (vae.decode(latents.transpose(1, 2)).sample - vae.decode(changed.transpose(1, 2)).sample).abs()
    # Beyond the reach some processors' convolutions leave rounding, not zeros: in float64 it is far below what is seen.
    touched = (moved.amax(dim=(0, 1)) > 1e-13 * moved.max()).nonzero().flatten() // 8
    assert 2 * reach - int(touched.min()) in (reach - 1, reach)
    assert int(touched.max()) - 2 * reach in (reach - 1, reach)


def test_a_reference_gives_its_start_middle_and_end() -> None:
    wave = torch.arange(100 * 8.0).expand(2, -1)
    excerpt = reference_excerpt(wave, 8)
    assert excerpt.shape == (2, 240)
    assert [excerpt[0, place].item() for place in (0, 79, 80, 160, 239)] == [0, 79, 360, 720, 799]


def test_a_short_reference_is_repeated() -> None:
    wave = torch.arange(7 * 8.0).expand(2, -1)
    excerpt = reference_excerpt(wave, 8)
    assert excerpt.shape == (2, 240)
    assert excerpt[0, 56].item() == 0
