"""Weights that wait in the host's memory: the same numbers as without, and no more on the device than is at work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.errors import StudioError
from core.music import Music
from networks.acestep.lora.adapter import Adapter, describe, linear_shapes
from networks.acestep.open import open_runtime
from networks.acestep.prompts import instruction_of, lyric_text, prompt_text
from networks.acestep.runtime import Runtime
from networks.acestep.torch.runtime import TorchRuntime
from networks.machine import Machine, Offload
from networks.memory import Weights, weights_of_song
from tests.tiny import CHANNELS, save_tiny

CPU = Machine(runtime="torch", device="cpu")
OFFLOADS: tuple[Offload, ...] = tuple(each for each in get_args(Offload) if each != "none")
FRAMES = 41

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def whole(folder: Path) -> Iterator[Runtime]:
    opened = open_runtime(folder, runtime="torch", device="cpu")
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=OFFLOADS)
def offload(request: pytest.FixtureRequest) -> Offload:
    made: Offload = request.param
    return made


@pytest.fixture(scope="module")
def offloaded(folder: Path, offload: Offload) -> Iterator[TorchRuntime]:
    opened = open_runtime(folder, runtime="torch", device="cpu", offload=offload)
    assert isinstance(opened, TorchRuntime)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """A LoRA of every layer of the DiT with magnitudes, which are taken from the weights that it is for."""
    dice, tensors = torch.Generator().manual_seed(2), {}
    for name, (high, wide) in linear_shapes(folder).items():
        tensors[f"lora_unet_{name}.lora_down.weight"] = 0.2 * torch.randn(2, wide, generator=dice)
        tensors[f"lora_unet_{name}.lora_up.weight"] = 0.2 * torch.randn(high, 2, generator=dice)
        tensors[f"lora_unet_{name}.dora_scale"] = 0.5 + torch.rand(high, 1, generator=dice)
    path = tmp_path_factory.mktemp("adapters") / "all.safetensors"
    save_file(tensors, path)
    return describe(path)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def answers(runtime: Runtime, adapters: tuple[Adapter, ...] = ()) -> Iterator[Tensor]:
    """What every network says, in an order that uses each more than once."""
    yield runtime.silence(FRAMES)
    latents = runtime.encode(noise(1, 2, 8 * FRAMES))
    yield latents
    runtime.set_adapters(adapters)
    texts = [prompt_text(instruction_of("text2music"), Music(caption=each, duration_s=4)) for each in ("calm", "loud")]
    condition = runtime.condition(texts, [lyric_text("en", "[verse]\nhello")] * 2, [None, latents])
    for x in (latents.expand(2, -1, -1), noise(2, FRAMES, CHANNELS)):
        yield from runtime.velocity(
            x, 0.7, noise(1, FRAMES, 2 * CHANNELS, seed=3), [condition, runtime.null_condition()]
        )
    codes = runtime.latents_to_codes(latents)
    yield codes
    yield runtime.codes_to_latents(codes)
    yield runtime.decode(latents)
    runtime.set_adapters(())


@pytest.mark.parametrize("adapted", [False, True], ids=["bare", "adapted"])
def test_every_network_says_bit_for_bit_what_it_says_without(
    whole: Runtime, offloaded: TorchRuntime, adapter: Adapter, adapted: bool
) -> None:
    adapters = (adapter,) if adapted else ()
    for there, here in zip(answers(whole, adapters), answers(offloaded, adapters), strict=True):
        assert torch.equal(here, there)


def held_gb(runtime: TorchRuntime) -> float:
    """What is there of the weights."""
    tensors = {id(each): each for part in runtime.parts.modules for each in (*part.parameters(), *part.buffers())}
    return sum(each.numel() * each.element_size() for each in tensors.values()) / 1e9


def test_no_more_is_there_than_was_said_and_at_rest_next_to_nothing(
    folder: Path, offload: Offload, offloaded: TorchRuntime
) -> None:
    weights = weights_of_song(folder, None, None, CPU)
    silence_gb = 4 * offloaded.silence(15_000).numel() / 1e9  # it stays, and is counted among the condition encoder's
    held = []
    for layer in offloaded.parts.transformer.layers:
        layer.register_forward_hook(lambda *_: held.append(held_gb(offloaded)))
    for _ in answers(offloaded):
        held.append(held_gb(offloaded))
    assert max(held) <= weights.at_once(offload) + silence_gb + 1e-5 < weights.whole
    offloaded.rest()
    assert held_gb(offloaded) < silence_gb + 1e-5


def test_weights_are_counted_as_the_networks_have_them(folder: Path, whole: Runtime) -> None:
    assert isinstance(whole, TorchRuntime)
    weights = weights_of_song(folder, None, None, CPU)
    assert weights.whole == pytest.approx(held_gb(whole), rel=0.01)
    layers = [sum(4 * each.numel() for each in layer.parameters()) / 1e9 for layer in whole.parts.transformer.layers]
    assert weights.layers == pytest.approx(sum(layers))
    assert weights.layer == pytest.approx(max(layers))
    half = weights_of_song(folder, None, None, Machine(runtime="torch", device="cpu", dtype="bfloat16"))
    assert half.parts["vae"] == weights.parts["vae"]
    assert half.parts["transformer"] == pytest.approx(weights.parts["transformer"] / 2)


@pytest.mark.parametrize(
    ("room_gb", "expected"), [(12.0, "none"), (11.9, "parts"), (8.0, "parts"), (7.9, "layers"), (0.1, "layers")]
)
def test_the_quickest_way_that_fits_is_taken_and_else_the_most_modest(room_gb: float, expected: Offload) -> None:
    weights = Weights(parts={"transformer": 8.0, "text_encoder": 2.0, "vae": 2.0}, layers=7.5, layer=0.5)
    assert weights.offload(room_gb) == expected
    assert [weights.at_once(each) for each in ("none", "parts", "layers")] == [12.0, 8.0, 2.0]


def test_mlx_has_nothing_to_offload_to(folder: Path) -> None:
    with pytest.raises(StudioError, match="MLX shares its memory with the host"):
        open_runtime(folder, runtime="mlx", device="cpu", offload="parts")
