"""The making of a MusicGen song: the words, the source's last seconds or its melody, tokens window by window, sound.

The same plan and timeline as an ACE-Step song has; `rendered` is a generator of events that can be closed between two
tokens.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import numpy as np

from core.errors import StudioError
from core.events import Progress
from core.music import Music
from core.plans import Plan
from core.steps import telling
from core.tables import SAMPLE_RATE
from library import audio
from networks.acestep.job import Job, Take
from networks.acestep.timeline import Timeline
from networks.musicgen.windows import Window, windows
from pipeline import LEFT_FORMAT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from networks.musicgen.model import Choice, Condition, MusicGen

    Tokens = NDArray[np.int64]

PULSE_S = 0.1
"""How often drawing is told again; a cancel waits no longer than that, or for one token."""


def rendered(job: Job, networks: MusicGen, plans: list[Plan]) -> Iterator[Progress | Take]:
    """Progress, then one Take for each variation; the same job gives the same samples."""
    line = job.timeline(SAMPLE_RATE, plans[0].duration_s)
    yield Progress("encoding")
    known = _known(job, networks, line)
    tokens = yield from _drawn(job, networks, line, known, text_of(plans[0].music))
    for index in range(job.request.variations):
        told = Progress("decoding")
        yield told
        sound = yield from telling(told, networks.decoding(tokens[index]))
        if not np.isfinite(sound).all():
            from networks.musicgen.model import HOLD_BACK

            raise StudioError(LEFT_FORMAT, HOLD_BACK)
        yield Take(
            audio=_finished(job, line, sound, networks.samples_of(known.shape[1])),
            gain=1.0,
            latents=None,
            plan=plans[index],
            request=job.narrowed(index, plans[index].duration_s),
            windows=line.windows,
        )


def text_of(music: Music) -> str:
    """The words for the text encoder; tempo and key follow them as in a part of MusicGen's training.

    audiocraft's `augment_music_info_description` merges them into the description so.
    """
    facts = [f"bpm: {music.bpm}"] if music.bpm else []
    if music.keyscale:
        facts.append(f"key: {music.keyscale.lower()}")
    return ". ".join(part for part in (music.caption.strip().rstrip("."), *facts) if part)


def _window(line: Timeline) -> tuple[int, int]:
    """The samples that are new: it makes no more than one stretch of a song."""
    (window,) = line.windows
    return window


def _known(job: Job, networks: MusicGen, line: Timeline) -> Tokens:
    """The tokens `(K, P)` of what comes before the part that is new, as much of it as a window goes on from."""
    start, _ = _window(line)
    frames = min(networks.kept, start // networks.samples_of(1))
    if job.source is None or frames == 0:
        return np.zeros((networks.codebooks, 0), dtype=np.int64)
    return networks.encode(job.source.audio[:, start - networks.samples_of(frames) : start])


def _drawn(job: Job, networks: MusicGen, line: Timeline, known: Tokens, text: str) -> Generator[Progress, None, Tokens]:
    """Progress; returns the tokens `(V, K, T)` of what is known and what is new, drawn window by window.

    A generator draws for its variation through all windows. What is kept of a window goes into the next as it is:
    encoding it again would drift.
    """
    tokens = np.repeat(known[None], job.request.variations, axis=0)
    rngs, choice, (start, stop) = networks.rngs(job.seeds), _choice(job), _window(line)
    total = known.shape[1] + networks.frames_of(stop - start)
    every = list(windows(known.shape[1], total, networks.longest, networks.kept))
    drawing = _Drawing(sum(window.new for window in every), len(every))
    for window in every:
        condition = _condition(job, networks, text, window)
        prompts = tokens[:, :, window.first :]
        steps = networks.drawing(condition, prompts, window.new, choice, rngs)
        made = yield from drawing.told(steps, window)
        tokens = np.concatenate([tokens[:, :, : window.first], made], axis=2)
    return tokens


def _choice(job: Job) -> Choice:
    from networks.musicgen.model import Choice

    rendering = job.rendering
    assert rendering.temperature is not None and rendering.top_k is not None, "the recipe says how tokens are drawn"
    return Choice(guidance=rendering.guidance_scale, temperature=rendering.temperature, top_k=rendering.top_k)


def _condition(job: Job, networks: MusicGen, text: str, window: Window) -> Condition:
    """The words and, of a cover, the melody from where the window begins."""
    if job.request.cover is None or job.source is None:
        return networks.condition(text)
    return networks.condition(text, job.source.audio[:, networks.samples_of(window.first) :])


class _Drawing:
    """How far the tokens of a song are, over all its windows."""

    def __init__(self, frames: int, count: int) -> None:
        self._frames = frames
        self._count = count
        self._done = 0
        self._windows = 0
        self._started = time.monotonic()

    def told(self, steps: Generator[int, None, Tokens], window: Window) -> Generator[Progress, None, Tokens]:
        """Progress now and then while the tokens of a window are drawn; returns them."""
        self._windows += 1
        before, last = self._done, 0.0
        try:
            while True:
                step = next(steps)
                self._done = before + min(step, window.new)
                if time.monotonic() - last >= PULSE_S or step == window.new:
                    last = time.monotonic()
                    yield self._progress()
        except StopIteration as end:
            made: Tokens = end.value
            return made
        finally:
            steps.close()

    def _progress(self) -> Progress:
        spent_s = time.monotonic() - self._started
        left_s = spent_s / self._done * (self._frames - self._done)
        note = f"generating, window {self._windows} of {self._count}" if self._count > 1 else ""
        return Progress("generating", self._done, self._frames, left_s, note)


def _finished(job: Job, line: Timeline, sound: NDArray[np.float32], before: int) -> NDArray[np.float32]:
    """The song: turned down if it is too loud, or put into its source, which the first `before` samples repeat."""
    recording, seam = job.source, job.request.seam
    start, stop = _window(line)
    if recording is None or seam is None:
        return audio.limit_peak(sound[:, before : before + stop - start])
    new = np.zeros((2, line.samples), dtype=np.float32)
    first = start - before
    new[:, first:stop] = sound[:, : stop - first].clip(-1.0, 1.0)
    assert seam.crossfade_s is not None
    fade = min(round(seam.crossfade_s * SAMPLE_RATE), before)
    return audio.splice(line.place(recording.audio), new, (start, stop), fade)
