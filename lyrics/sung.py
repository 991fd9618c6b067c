"""When each line of an ACE-Step song is sung, from the song itself: the DiT is asked where it finds the words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import StudioError
from core.events import Progress
from lyrics.line_counts import sections_of
from lyrics.synced import Line, Section
from networks.acestep.alignment import LineTime, line_times, words_of
from pipeline import last_step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.plans import Plan
    from networks.acestep.job import Job
    from networks.acestep.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class SungTimes:
    """When the lines of a song are sung and its sections begin.

    `found` of the lines stand out in what the DiT attends to, the others were placed between them: where it is 0, the
    times mean nothing.
    """

    lines: tuple[Line, ...]
    sections: tuple[Section, ...]
    found: int


def has_words(lyrics: str) -> bool:
    """Whether lyrics have a line that is sung: the names of sections, as in [Instrumental], are not."""
    return any(lines for _, lines in sections_of(lyrics))


def align(job: Job, plan: Plan, latents: NDArray[np.float16], runtime: Runtime) -> Iterator[Progress | SungTimes]:
    """Progress, then the SungTimes of a rendered song; the same song gives the same times.

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
    yield apart(line_times(shown, words, frame_s, start_s=first * frame_s, end_s=step.seconds))


def apart(times: Sequence[LineTime]) -> SungTimes:
    """The lines and sections apart. A section whose tag nothing attends to begins with its first line."""
    lines, sections, found = [], [], 0
    for index, each in enumerate(times):
        if not _is_section(each.text):
            lines.append(Line(each.text, each.start_s, each.end_s))
            found += each.found
            continue
        after = times[index + 1] if index + 1 < len(times) else each
        start_s = each.start_s if each.found or not after.found else after.start_s
        sections.append(Section(each.text[1:-1], start_s))
    return SungTimes(lines=tuple(lines), sections=tuple(sections), found=found)


def _is_section(line: str) -> bool:
    return not any(lines for _, lines in sections_of(line))
