"""htdemucs on torch: Demucs's own `apply_model` for each segment, added up as Demucs adds them, at bounded memory.

`demucs.apply.apply_model` alone would hold a song's four stems several times over and could not be left halfway. The
segments, their weights and the order in which they are added are its own, so that the samples are too.
"""

from __future__ import annotations

import itertools
import logging
import random
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from demucs.apply import TensorChunk, apply_model
from demucs.htdemucs import HTDemucs
from torch import Tensor

from core.errors import StudioError
from core.events import Progress
from core.files import reason
from core.steps import telling
from core.tables import SAMPLE_RATE
from networks.demucs import stored
from networks.demucs.separator import STEMS, Stem
from networks.machine import DeviceKind
from networks.torch_device import all_digits, free_memory, leave_between_layers, open_device, peak_gb

if TYPE_CHECKING:
    from networks.demucs.separator import Waveform

MOST_SHIFT_S = 0.5
"""How far a pass may be moved: `max_shift` of `apply_model`."""

_QUIET = 1e-8
"""Added to the deviation that a song is divided by, as `demucs.api.Separator` does: silence stays silence."""

_BYTES = 4

log = logging.getLogger(__name__)


def open_torch_separator(folder: Path, device: str | None, digests: Mapping[str, str]) -> TorchSeparator:
    """Load the htdemucs in `folder` on torch; as `open_separator`."""
    target = open_device(device)
    network = stored.load(folder, digests).to(target)
    leave_between_layers([network], target)
    return TorchSeparator(network, target)


class TorchSeparator:
    """A Separator on torch.

    On Apple's GPU Demucs itself takes the spectra and their inverses to the CPU, and what is complex with them; the
    layers stay on the GPU. `PYTORCH_ENABLE_MPS_FALLBACK=1` lets torch do the same with operations that Metal lacks. It
    does not help where Metal has one and refuses it, as convolutions of more than 65536 samples before macOS 15.1,
    which a segment has: then the whole network goes to the CPU for good, and `note` says so.
    """

    def __init__(self, network: HTDemucs, device: torch.device) -> None:
        self.device = device
        self.note = ""
        self._network: HTDemucs | None = network

    @property
    def device_kind(self) -> DeviceKind:
        """Where the network runs."""
        return cast(DeviceKind, self.device.type)

    def separate(
        self, audio: Waveform, *, shifts: int, overlap: float, seed: int
    ) -> Generator[Progress | Stem, None, None]:
        """Events of the segments, then the stems of `audio` `(2, S)`."""
        network = self._open_network()
        margin = int(MOST_SHIFT_S * network.samplerate) if shifts else 0
        told = Progress("separating", note="bringing the song to the rate of the network")
        mix = yield from telling(told, _padded(audio, network.samplerate, margin))
        length = mix.shape[-1] - 2 * margin
        mean, deviation = _normalise(mix[..., margin : margin + length])
        passes = _passes(mix, shifts, margin, seed)
        starts = _starts(network, overlap)
        total = sum(len(starts(chunk.length)) for chunk, _ in passes)
        step, began = 0, time.monotonic()
        sums = _Sums((len(network.sources), stored.CHANNELS, length))
        with closing(sums):
            for number, (chunk, lead) in enumerate(passes):
                for start, block in self._blocks(chunk, starts(chunk.length)):
                    sums.add(start - lead, block, again=number > 0)
                    step += 1
                    yield Progress("separating", step, total, (time.monotonic() - began) / step * (total - step))
            del mix, passes, chunk, block
            free_memory(self.device)
            for name in STEMS:
                stem = np.empty(audio.shape, np.float32)
                for channel, row in enumerate(stem):
                    part = sums.read(network.sources.index(name), channel)
                    part /= max(shifts, 1)
                    part *= deviation
                    part += mean
                    row[:] = _fitted(_resampled(part, network.samplerate, SAMPLE_RATE), len(row))
                    yield Progress("separating", total, total, note=f"the {name}")
                yield Stem(name, stem)

    def peak_gb(self) -> float:
        """The peak in GB of the GPU's memory on CUDA since the last call, elsewhere of the process."""
        return peak_gb(self.device)

    def close(self) -> None:
        """Free the weights."""
        self._network = None
        free_memory(self.device)

    def _blocks(self, mix: TensorChunk, starts: range) -> Iterator[tuple[int, Tensor]]:
        """Where each segment of a pass begins, and the samples `(stems, 2, n)` from there that no later one adds to."""
        network = self._open_network()
        weight = _weight(_segment(network))
        total = torch.zeros(len(network.sources), stored.CHANNELS, len(weight))
        weights = torch.zeros(len(weight))
        for start in starts:
            part = self._apply(TensorChunk(mix, start, len(weight)))
            covered = part.shape[-1]
            total[..., :covered] += weight[:covered] * part
            weights[:covered] += weight[:covered]
            done = covered if start == starts[-1] else starts.step
            yield start, total[..., :done] / weights[:done]
            total, weights = F.pad(total[..., done:], (0, done)), F.pad(weights[done:], (0, done))

    def _apply(self, chunk: TensorChunk) -> Tensor:
        """The stems `(stems, 2, n)` of one segment, on the CPU."""
        network = self._open_network()
        try:
            with _same_each_time(), all_digits():
                parts = apply_model(network, chunk, shifts=0, split=False, device=self.device)
        except NotImplementedError as lacking:
            if self.device.type != "mps":
                raise
            self.note = "Demucs ran on the CPU: this version of macOS has not all of it on the GPU"
            log.warning("%s (%s)", self.note, lacking)
            network.to("cpu")
            free_memory(self.device)
            self.device = torch.device("cpu")
            return self._apply(chunk)
        return parts[0].cpu()

    def _open_network(self) -> HTDemucs:
        assert self._network is not None, "the separator is closed"
        return self._network


def _passes(mix: Tensor, shifts: int, margin: int, seed: int) -> list[tuple[TensorChunk, int]]:
    """What each pass reads of the song, and how many samples its result begins before the song does."""
    if not shifts:
        return [(TensorChunk(mix), 0)]
    length, dice = mix.shape[-1] - 2 * margin, random.Random(seed)
    offsets = [dice.randint(0, margin) for _ in range(shifts)]
    return [(TensorChunk(mix, offset, length + margin - offset), margin - offset) for offset in offsets]


def _segment(network: HTDemucs) -> int:
    """Samples of the segments that the network was trained on."""
    return int(network.samplerate * network.segment)


def _starts(network: HTDemucs, overlap: float) -> Callable[[int], range]:
    """Where the segments of a pass over so many samples begin."""
    stride = int((1 - overlap) * _segment(network))
    return lambda length: range(0, length, stride)


def _weight(segment: int) -> Tensor:
    """How much each sample of a segment counts where segments overlap: rising to the middle, then falling."""
    rising, falling = torch.arange(1, segment // 2 + 1), torch.arange(segment - segment // 2, 0, -1)
    weight = torch.cat([rising, falling])
    return weight / weight.max()


def _normalise(mix: Tensor) -> tuple[Waveform, Waveform]:
    """Bring the song `(1, 2, S)` in place to mean 0 and deviation 1; what they were, without dimensions."""
    middle = mix[0].mean(0)
    mean, deviation = middle.mean(), middle.std() + _QUIET
    mix.sub_(mean).div_(deviation)
    return mean.numpy(), deviation.numpy()


def _padded(audio: Waveform, rate: int, margin: int) -> Generator[None, None, Tensor]:
    """The song `(1, 2, margin + S + margin)` at the network's rate between two stretches of silence."""
    channels = (_resampled(channel, SAMPLE_RATE, rate) for channel in audio)
    first = next(channels)
    padded = torch.zeros(1, len(audio), margin + len(first) + margin)
    for number, samples in enumerate(itertools.chain([first], channels)):
        padded[0, number, margin : margin + len(samples)] = torch.from_numpy(samples)
        yield
    return padded


def _resampled(channel: Waveform, from_hz: int, to_hz: int) -> Waveform:
    """One channel `(S,)` at another rate: by itself it takes half the memory."""
    resampled: Waveform = soxr.resample(np.ascontiguousarray(channel, np.float32), from_hz, to_hz)
    return resampled


def _fitted(channel: Waveform, samples: int) -> Waveform:
    """The channel with so many samples: on the way to another rate and back one may be won or lost."""
    kept = channel[:samples]
    return kept if len(kept) == samples else np.pad(kept, (0, samples - len(kept)))


@contextmanager
def _same_each_time() -> Iterator[None]:
    """A stretch of code whose convolutions on CUDA repeat themselves to the bit.

    It leaves Python's shared generator as it was: a forward pass draws a 0 from it.
    """
    dice, before = random.getstate(), torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before
        random.setstate(dice)


class _Sums:
    """The stems `(stems, channels, samples)` as they are added up, in a temporary file without a name."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        with _disk_errors():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115

    def add(self, start: int, block: Tensor, *, again: bool) -> None:
        """Write the block `(stems, channels, n)` at `start`, or add it to what is there; before 0 it is cut off."""
        block = block[..., max(0, -start) :]
        start = max(0, start)
        if not block.shape[-1]:
            return
        with _disk_errors():
            for row, samples in enumerate(block.flatten(0, 1).numpy()):
                place = (row * self._shape[-1] + start) * _BYTES
                if again:
                    samples = samples + self._read(place, len(samples))
                self._file.seek(place)
                self._file.write(np.ascontiguousarray(samples).data)

    def read(self, stem: int, channel: int) -> Waveform:
        """One channel `(samples,)` of one stem."""
        _, channels, length = self._shape
        with _disk_errors():
            return self._read((stem * channels + channel) * length * _BYTES, length)

    def close(self) -> None:
        """Give the room on the disk back."""
        self._file.close()

    def _read(self, place: int, count: int) -> Waveform:
        found = np.empty(count, np.float32)
        self._file.seek(place)
        self._file.readinto(found.data)
        return found


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as refused:
        raise StudioError(
            f"The stems cannot be kept while they are made: {reason(refused)}.",
            "Make room for temporary files, or set TMPDIR to a folder on another disk.",
        ) from refused
