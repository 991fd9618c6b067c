"""When each line of an ACE-Step song is sung, from the song itself: the DiT is asked where it finds the words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.errors import StudioError
from core.events import Progress
from networks.acestep.alignment import Alignment, is_section, line_times, words_of
from pipeline import last_step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.plans import Plan
    from networks.acestep.job import Job
    from networks.acestep.runtime import Runtime


def has_words(lyrics: str) -> bool:
    """Whether lyrics have a line that is sung: the names of sections, as in [Instrumental], are not."""
    return any(line and not is_section(line) for line in map(str.strip, lyrics.split("\n")))


def align(job: Job, plan: Plan, latents: NDArray[np.float16], runtime: Runtime) -> Iterator[Progress | Alignment]:
    """Progress, then the Alignment of a rendered song; the same song gives the same times.

    `job` made the song, with its adapters and recordings; `plan` is the one that it followed (`core.plans.plan_from`)
    and `latents` `(T, C)` what became of it. Where a window was made anew, its words alone are sought, in it alone.

    Raises StudioError for a song without words, and where nobody knows which heads of the checkpoint follow them.
    """
    if not has_words(plan.music.lyrics):
        raise StudioError("The song has no words that are sung.", "Choose one with lyrics.")
    if not runtime.lyric_heads:
        raise StudioError("It is not known where this checkpoint keeps track of the words.", "Estimate their times.")
    step = yield from last_step(job, plan, latents, runtime)
    yield Progress("listening", note="finding the words in the song")
    words, patch = words_of(step.words, runtime.lyric_offsets(step.words)), runtime.shape.patch
    maps = runtime.cross_attention(
        step.x,
        step.t,
        step.view.context,
        step.view.condition,
        heads=runtime.lyric_heads,
        positions=words.positions,
    )
    first, stop = step.window[0] // patch, -(-step.window[1] // patch)
    frame_s = patch / runtime.shape.frames_hz
    shown = [each[first:stop].numpy() for each in maps]
    yield line_times(shown, words, frame_s, start_s=first * frame_s, end_s=step.seconds)
