"""What the DiT sees besides noise: one function per row of the table in docs/modes.md.

A scene is the context, source latents beside a mask, and the instruction that goes with it. Latents are
`(B, T, C)`, contexts `(B, T, 2C)`; the mask is 1 where the model may change the music, 0 where it may not, and 2
throughout where it is left to the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from core.modes import ChunkMask, Structure, Task
from core.recipes import Recipe
from networks.acestep.runtime import reference_excerpt

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from core.events import Progress
    from networks.acestep.runtime import Runtime

Window = tuple[int, int]
"""First frame that is made anew, and the first after it that is not."""

Windows = Sequence[Window]
"""Apart from each other, in order."""

LEFT_TO_MODEL = 2.0
"""The mask in every frame, inside a window and outside, that upstream's `chunk_mask_mode` auto means."""


def encode(runtime: Runtime, waves: Sequence[NDArray[np.float32]]) -> Generator[Progress, None, Tensor]:
    """Progress between two tiles; returns the latents `(B, T, C)` of waveforms `(2, S)` of one length."""
    return (yield from runtime.encoding(torch.stack([torch.from_numpy(wave) for wave in waves])))


def decode(runtime: Runtime, latents: Tensor, samples: int) -> Generator[Progress, None, list[NDArray[np.float32]]]:
    """Progress between two tiles; returns the waveforms `(2, samples)` of latents `(B, T, C)`."""
    waves = yield from runtime.decoding(latents)
    return [wave[:, :samples].cpu().numpy() for wave in waves]


def codes_of(runtime: Runtime, wave: NDArray[np.float32]) -> Generator[Progress, None, tuple[int, ...]]:
    """Progress between two tiles; returns the audio codes of a waveform `(2, S)`: all that a planner gets of it."""
    latents = yield from encode(runtime, [wave])
    codes: list[int] = runtime.latents_to_codes(latents)[0].tolist()
    return tuple(codes)


def reference(runtime: Runtime, wave: NDArray[np.float32]) -> Generator[Progress, None, Tensor]:
    """Progress between two tiles; returns the latents `(1, T, C)` of what of a waveform gives the timbre."""
    excerpt = reference_excerpt(torch.from_numpy(wave), runtime.shape.sample_rate)
    return (yield from runtime.encoding(excerpt[None]))


def kept(latents: NDArray[np.float16], runtime: Runtime, before: int = 0) -> Tensor:
    """Latents `(1, before + T, C)` that were stored beside a track `(T, C)`, back at work behind some silence."""
    silence = runtime.silence(before)
    return torch.cat([silence, torch.from_numpy(latents).to(silence)[None]], dim=1)


def place(latents: Tensor, start: int, silence: Tensor) -> Tensor:
    """Latents `(B, T, C)` from frame `start` on, in as much silence `(1, frames, C)` as there is."""
    placed = silence.expand(latents.shape[0], -1, -1).clone()
    stop = min(start + latents.shape[1], silence.shape[1])
    placed[:, start:stop] = latents[:, : stop - start]
    return placed


def stored(latents: Tensor) -> NDArray[np.float16]:
    """Latents `(T, C)` as they are stored beside a track: half precision."""
    return latents.detach().cpu().half().numpy()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A context and its instruction; `kept` are the source latents outside `windows`, if the mode has any."""

    task: Task
    context: Tensor
    kept: Tensor | None = None
    windows: Windows = ()

    def under(self, chunk_mask: ChunkMask) -> Scene:
        """The scene with its own mask, or with one that leaves to the model what it changes."""
        if chunk_mask == "explicit":
            return self
        source, mask = self.context.chunk(2, dim=-1)
        return dataclasses.replace(self, context=torch.cat([source, torch.full_like(mask, LEFT_TO_MODEL)], dim=-1))


def masked(source: Tensor, mask: Tensor | None = None) -> Tensor:
    """The context `(B, T, 2C)` of source latents `(B, T, C)`; without a mask the model may change everything."""
    return torch.cat([source, torch.ones_like(source) if mask is None else mask.expand_as(source)], dim=-1)


def window_mask(latents: Tensor, windows: Windows) -> Tensor:
    """`(1, T, 1)` for latents `(B, T, C)`: 1 inside the windows, 0 outside."""
    mask = latents.new_zeros(1, latents.shape[1], 1)
    for start, stop in windows:
        mask[:, start:stop] = 1.0
    return mask


def fit(latents: Tensor, frames: int, silence: Tensor) -> Tensor:
    """The latents cut, or filled up with silence `(1, frames, C)`, to so many frames."""
    have = latents.shape[1]
    if have >= frames:
        return latents[:, :frames]
    rest = silence[:, : frames - have].expand(latents.shape[0], -1, -1)
    return torch.cat([latents, rest], dim=1)


def from_words(runtime: Runtime, frames: int) -> Scene:
    """Generate without a plan: silence, everything open."""
    return Scene(task="text2music", context=masked(runtime.silence(frames)))


def from_codes(runtime: Runtime, codes: Sequence[Sequence[int]], frames: int) -> Scene:
    """Generate from each variation's audio codes: their latents under the cover instruction, as it was trained."""
    latents = fit(runtime.codes_to_latents(torch.tensor(codes)), frames, runtime.silence(frames))
    return Scene(task="cover", context=masked(latents))


def from_guide(guide: Tensor, task: Task) -> Scene:
    """Generate from the latents of a rough rendering, under the instruction that the checkpoint takes them by."""
    return Scene(task=task, context=masked(guide))


def cover(runtime: Runtime, source: Tensor, structure: Structure, task_of_latents: Task) -> Scene:
    """Cover: the source through the codes' bottleneck, which keeps structure alone, or its raw latents."""
    if structure == "latents":
        return Scene(task=task_of_latents, context=masked(source), kept=source)
    frames = source.shape[1]
    hints = fit(runtime.codes_to_latents(runtime.latents_to_codes(source)), frames, runtime.silence(frames))
    return Scene(task="cover", context=masked(hints), kept=source)


def of_tracks(source: Tensor, task: Task) -> Scene:
    """Lego, extract, complete: the raw source, everything open, under the instruction that names the tracks."""
    return Scene(task=task, context=masked(source), kept=source)


def flow(runtime: Runtime, source: Tensor, windows: Windows, recipe: Recipe) -> Scene:
    """Flow edit: silence, or the raw source for a checkpoint that takes its structure from latents."""
    if recipe.structure == "latents":
        return Scene(task=recipe.task_of_latents, context=masked(source), kept=source, windows=windows)
    return dataclasses.replace(from_words(runtime, source.shape[1]), kept=source, windows=windows)


def repaint(runtime: Runtime, source: Tensor, windows: Windows) -> Scene:
    """Edit and Extend: the source, silence inside the windows, and only the windows open."""
    frames = source.shape[1]
    mask = window_mask(source, windows)
    context = masked(torch.where(mask.bool(), runtime.silence(frames), source), mask)
    return Scene(task="repaint", context=context, kept=source, windows=windows)


def guided_repaint(source: Tensor, guide: Tensor, windows: Windows, task: Task) -> Scene:
    """Edit and Extend under a planner's guide: its latents inside the windows, the source outside, everything open."""
    inside = window_mask(source, windows).bool()
    return Scene(task=task, context=masked(torch.where(inside, guide, source)), kept=source, windows=windows)
