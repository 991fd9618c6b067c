"""MusicGen on torch: transformers' own networks, and around them a loop that can be watched and left at every token.

What it draws equals `generate` of transformers token for token with the same seed. Waveforms that cross this wall are
stereo at 48 kHz, as everywhere; that EnCodec runs at 32 kHz stays behind it. Tokens are whole numbers `(K, T)`, one row
for each codebook: of a stereo checkpoint the codebooks of left and right take turns.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoTokenizer, MusicgenForConditionalGeneration, MusicgenMelodyForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.logging import disable_progress_bar

from core.errors import CheckpointError, StudioError
from core.tables import SAMPLE_RATE
from networks.acestep.weights import REPAIR, read_json
from networks.machine import DeviceKind, DType
from networks.musicgen.chroma import ChromaShape, one_hot_chroma
from networks.musicgen.windows import KEPT_S, LONGEST_S
from networks.torch_device import all_digits, dtype_on, free_memory, leave_between_layers, open_device, peak_gb

Waveform = NDArray[np.float32]
Tokens = NDArray[np.int64]

CLASSES = {
    "musicgen": MusicgenForConditionalGeneration,
    "musicgen_melody": MusicgenMelodyForConditionalGeneration,
}
"""By the name of the family in `config.json`."""

CODEC = "audio_encoder."
"""What the names of EnCodec's parts begin with: these stay in float32, whatever the others run in."""

LISTENED_S = 30
"""No more of a melody is heard at a time: as much as was in training."""

TILE_FRAMES, MARGIN_FRAMES = 500, 16
"""Frames that are decoded at once, and how many more beside them, which reach further than the convolutions see."""

LEFT_FORMAT = "MusicGen's numbers left their format: there is no token among them."
HOLD_BACK = "Lower guidance_scale, or choose another number format with --dtype."


def loading(folder: Path, device: str | None, dtype: DType | None) -> Generator[None, None, MusicGen]:
    """The checkpoint in a folder, read in one step and brought to the device module by module."""
    target = open_device(device)
    yield
    disable_progress_bar()  # of loading, drawn on stderr, where the studio draws its own
    family = str(read_json(folder / "config.json").get("model_type"))
    number = dtype_on(target, dtype)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        network, report = CLASSES[family].from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as broken:
        raise CheckpointError(f"{folder.name} cannot be loaded: {broken}.", REPAIR) from broken
    absent = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if absent:
        raise CheckpointError(f"{folder.name} lacks {len(absent)} tensors, {absent[0]} first.", REPAIR)
    for name, module in network.eval().requires_grad_(False).named_modules():
        yield
        if not list(module.children()):
            module.to(target, torch.float32 if name.startswith(CODEC) else number)
    leave_between_layers([network], target)
    heard = folder / "preprocessor_config.json"
    chroma = ChromaShape.told(read_json(heard) if heard.is_file() else {})
    return MusicGen(network.to(target), tokenizer, target, chroma)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How a token is drawn: guidance, then temperature, then the `top_k` likeliest; temperature 0 takes the likeliest.

    Guidance 1 is none, `top_k` 0 sets no limit.
    """

    guidance: float = 3.0
    temperature: float = 1.0
    top_k: int = 250


@dataclass(frozen=True)
class Condition:
    """The words, and the melody where there is one, encoded: of one item, guidance's null beside it.

    `states` are `(2, L, D)`, `mask` `(2, L)` says which of them are words; of melody checkpoints there is no mask.
    """

    states: Tensor
    mask: Tensor | None


class MusicGen:
    """A MusicGen checkpoint, ready to run."""

    lyric_heads: tuple[tuple[int, int], ...] = ()
    """It sings no words: no head follows them."""

    def __init__(self, network: Any, tokenizer: Any, device: torch.device, chroma: ChromaShape) -> None:
        self.device = device
        self.network = network
        self.tokenizer = tokenizer
        self._chroma = chroma
        codec = network.config.audio_encoder
        self.codec_hz = int(codec.sampling_rate)
        self.hop = int(codec.hop_length)
        self.codebooks = int(network.config.decoder.num_codebooks)
        self.channels = int(network.config.decoder.audio_channels)
        self.takes_melody = isinstance(network, MusicgenMelodyForConditionalGeneration)

    @property
    def device_kind(self) -> DeviceKind:
        """Where the networks run."""
        return cast(DeviceKind, self.device.type)

    @property
    def frames_hz(self) -> float:
        """Frames of tokens in a second."""
        return self.codec_hz / self.hop

    @property
    def longest(self) -> int:
        """Frames of a window at the most."""
        return round(LONGEST_S * self.frames_hz)

    @property
    def kept(self) -> int:
        """Frames that a window goes on from at the most."""
        return round(KEPT_S * self.frames_hz)

    def frames_of(self, samples: int) -> int:
        """Frames that hold so many samples at 48 kHz; the last one may be partly filled."""
        return math.ceil(samples / self.samples_of(1))

    def samples_of(self, frames: int) -> int:
        """Samples at 48 kHz of so many frames."""
        return frames * self.hop * SAMPLE_RATE // self.codec_hz

    # ---- words and melody -------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def condition(self, text: str, melody: Waveform | None = None) -> Condition:
        """The words and, for a checkpoint that takes one, the first half minute of a melody `(2, S)` at 48 kHz."""
        ids = self.tokenizer([text], return_tensors="pt").to(self.device)
        states = self.network.text_encoder(**ids).last_hidden_state
        mask = torch.cat([ids["attention_mask"], torch.zeros_like(ids["attention_mask"])])
        states = torch.cat([states, torch.zeros_like(states)])
        if not self.takes_melody:
            return Condition(states, mask)
        states = self._projected(states, "enc_to_dec_proj") * mask[..., None]
        return Condition(torch.cat([self._heard(melody).to(states), states], dim=1), None)

    def _heard(self, melody: Waveform | None) -> Tensor:
        """The melody's chroma and its absence, which is a lasting C, as states `(2, n, D)`: repeated, then cut."""
        classes, length = self.network.config.num_chroma, self.network.config.chroma_length
        heard = self.chroma_of(melody)
        absent = torch.zeros(1 if heard is None else len(heard), classes)
        absent[:, 0] = 1
        both = torch.stack([absent if heard is None else heard, absent])
        states = self._projected(both.to(self.device, self.network.dtype), "audio_enc_to_dec_proj")
        return states.repeat(1, math.ceil(length / states.shape[1]), 1)[:, :length]

    def chroma_of(self, melody: Waveform | None) -> Tensor | None:
        """The chroma `(n, 12)` of a melody `(2, S)` at 48 kHz; None where there is none."""
        if melody is None or melody.shape[1] == 0:
            return None
        heard = melody[:, : LISTENED_S * SAMPLE_RATE]
        mono = _resampled(heard.mean(axis=0, keepdims=True), SAMPLE_RATE, self._chroma.sampling_rate)[0]
        return one_hot_chroma(torch.from_numpy(mono), self._chroma)

    def _projected(self, states: Tensor, name: str) -> Tensor:
        """States through a projection, which a network has where its parts differ in width."""
        projection: nn.Module | None = getattr(self.network, name, None)
        return states if projection is None else projection(states)

    # ---- tokens ------------------------------------------------------------------------------------------------------

    def rngs(self, seeds: Sequence[int]) -> list[torch.Generator]:
        """One generator for each seed, on the CPU."""
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    def drawing(
        self,
        condition: Condition,
        prompts: NDArray[np.int64],
        frames: int,
        choice: Choice,
        rngs: Sequence[torch.Generator],
    ) -> Generator[int, None, NDArray[np.int64]]:
        """How many steps are done, after each; returns the tokens `(V, K, T)` of `frames` that go on from the prompts.

        `prompts` are `(V, K, P)` and stand at the beginning of what is returned. Each of V has its generator, on the
        CPU, which is why every device draws the same numbers. Raises StudioError where the logits are none.
        """
        decoder, pad = self.network.decoder, int(self.network.config.decoder.pad_token_id)
        rows, guided = len(rngs), choice.guidance > 1
        fed = torch.from_numpy(prompts).reshape(rows * self.codebooks, -1).to(self.device)
        start = torch.full_like(fed[:, :1], pad) if fed.shape[1] else fed.new_full((len(fed), 1), pad)
        delay = self.codebooks // self.channels
        with torch.inference_mode():
            ids, pattern = decoder.build_delay_pattern_mask(
                torch.cat([start, fed], dim=1), pad_token_id=pad, max_length=prompts.shape[2] + frames + delay
            )
        cache, done = None, 0
        while ids.shape[1] < pattern.shape[1]:
            with torch.inference_mode():
                seen = decoder.apply_delay_pattern_mask(ids, pattern)
                logits, cache = self._logits(condition, seen if cache is None else seen[:, -1:], cache, guided)
                drawn = _drawn(_guided(logits, choice.guidance) if guided else logits, choice, rngs)
                ids = torch.cat([ids, drawn[:, None].to(ids)], dim=1)
            done += 1
            yield done
        ids = decoder.apply_delay_pattern_mask(ids, pattern)
        tokens: Tokens = ids[ids != pad].reshape(rows, self.codebooks, -1).cpu().numpy()
        return tokens

    def _logits(self, condition: Condition, ids: Tensor, cache: Any, guided: bool) -> tuple[Tensor, Any]:
        """The logits of the next token on the CPU, those without a condition after the others, and the cache then."""
        items = 2 if guided else 1
        rows = len(ids) // self.codebooks
        states = condition.states[:items].repeat_interleave(rows, dim=0)
        known: dict[str, object]
        if condition.mask is not None:
            mask = condition.mask[:items].repeat_interleave(rows, dim=0)
            known = {"encoder_outputs": BaseModelOutput(last_hidden_state=states), "attention_mask": mask}
        else:  # these stand before the tokens, and in the cache from then on
            known = {"encoder_hidden_states": states if cache is None else None}
        out = self.network(**known, decoder_input_ids=ids.repeat(items, 1), cache=cache, use_cache=True)
        logits = out.logits[:, -1].float().cpu()
        if not logits.isfinite().all():
            raise StudioError(LEFT_FORMAT, HOLD_BACK)
        return logits, out.cache

    # ---- sound -------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, wave: Waveform) -> Tokens:
        """The tokens `(K, frames_of(S))` of a waveform `(2, S)` at 48 kHz."""
        sides = wave if self.channels == 2 else wave.mean(axis=0, keepdims=True)
        heard = torch.from_numpy(_resampled(sides, SAMPLE_RATE, self.codec_hz)).to(self.device)
        codec = self.network.audio_encoder
        with all_digits():
            each = [codec.encode(side[None, None]).audio_codes[0, 0] for side in heard]
        codes = torch.stack(each, dim=1).flatten(0, 1)  # left and right take turns
        tokens: Tokens = codes[: self.codebooks, : self.frames_of(wave.shape[1])].cpu().numpy()
        return tokens

    def decoding(self, tokens: Tokens) -> Generator[None, None, Waveform]:
        """The waveform `(2, samples_of(T))` at 48 kHz of tokens `(K, T)`, with steps between; mono comes on both sides.

        What remembers goes over all of it at once, the rest works in tiles, so that memory does not grow with the
        length; the tiles equal the whole.
        """
        sides = []
        for side in range(self.channels):
            wave = yield from self._side(torch.from_numpy(tokens[side :: self.channels]).to(self.device))
            sides.append(wave.cpu())
        mono_or_stereo = _resampled(torch.stack(sides).numpy(), self.codec_hz, SAMPLE_RATE)
        fitted = np.zeros((2, self.samples_of(tokens.shape[1])), dtype=np.float32)
        length = min(fitted.shape[1], mono_or_stereo.shape[1])
        fitted[:, :length] = mono_or_stereo[:, :length]
        return fitted

    def _side(self, codes: Tensor) -> Generator[None, None, Tensor]:
        """One channel `(S,)` of codes `(K, T)`, by the layers of EnCodec's decoder."""
        codec, layers = self.network.audio_encoder, list(self.network.audio_encoder.decoder.layers)
        remembering = [any(isinstance(part, nn.LSTM) for part in layer.modules()) for layer in layers]
        split = len(layers) - remembering[::-1].index(True)
        with torch.inference_mode(), all_digits():
            states = codec.quantizer.decode(codes[:, None])
            for layer in layers[:split]:
                states = layer(states)
        yield
        frames, pieces = states.shape[-1], []
        for start in range(0, frames, TILE_FRAMES):
            stop = min(start + TILE_FRAMES, frames)
            first = max(0, start - MARGIN_FRAMES)
            with torch.inference_mode(), all_digits():
                piece = states[..., first : min(frames, stop + MARGIN_FRAMES)]
                for layer in layers[split:]:
                    piece = layer(piece)
                pieces.append(piece[0, 0, (start - first) * self.hop : (stop - first) * self.hop].cpu())
            yield
        return torch.cat(pieces)

    # ---- memory ------------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Take nothing from the device: no weights of these wait in the host's memory."""

    def peak_gb(self) -> float:
        """The most memory in GB held at once since the last call; where only the process's peak is known, ever."""
        return peak_gb(self.device)

    def close(self) -> None:
        """Free the weights."""
        self.network = None
        free_memory(self.device)


def _guided(logits: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance over logits of which the second half is without a condition."""
    conditional, unconditional = logits.chunk(2)
    return unconditional + (conditional - unconditional) * scale


def _drawn(logits: Tensor, choice: Choice, rngs: Sequence[torch.Generator]) -> Tensor:
    """A token for each row of logits `(V * K, n)`; each of V draws with its own generator."""
    if choice.temperature == 0:
        return logits.argmax(dim=-1)
    scores = logits / choice.temperature
    if 0 < choice.top_k < scores.shape[-1]:
        least = scores.topk(choice.top_k).values[..., -1:]
        scores = scores.masked_fill(scores < least, -math.inf)
    each = scores.softmax(dim=-1).chunk(len(rngs))
    return torch.cat([torch.multinomial(own, 1, generator=rng)[:, 0] for own, rng in zip(each, rngs, strict=True)])


def _resampled(wave: Waveform, from_hz: int, to_hz: int) -> Waveform:
    """A waveform `(C, S)` at another rate, by the resampler of the library."""
    if from_hz == to_hz:
        return np.ascontiguousarray(wave, np.float32)
    made: Waveform = soxr.resample(np.ascontiguousarray(wave.T, np.float32), from_hz, to_hz, quality="HQ").T
    return np.ascontiguousarray(made)
