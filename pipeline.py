"""The making of an ACE-Step song: plan, encode, condition, denoise, splice, decode.

One road for Generate, Cover, Extend and Edit: they differ in their timeline and their scene alone. `render` is a
generator of events, so that progress costs nothing, and closing it between two steps is the cancel.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from core.errors import StudioError
from core.events import Preview, Progress
from core.modes import Morph, Seam, Task
from core.music import NO_LANGUAGE, OPEN, Music
from core.params import SongRequest
from core.plans import Known, Plan, Planner, Span, known_from, open_plan
from core.steps import aside, finished, telling
from core.tables import DEFAULT_DURATION_S
from library import audio, preview
from library.analysis import listen
from networks.acestep import flow_edit, prompts, sampler
from networks.acestep import scenes as contexts
from networks.acestep.job import Job, Take
from networks.acestep.previews import NO_PREVIEWS, SHARE, Previews
from networks.acestep.scenes import Scene
from networks.acestep.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from networks.acestep.runtime import Condition, Runtime

AROUND_S = 0.5
"""How much of the source is encoded around a guide."""

SHORTEST_FADE_S = 0.01
"""Crossfade beside a window at the least: a hard cut clicks."""

LARGEST_LAST_T = 0.5
"""The noisiest last step: of a song that was made in one step, at t = 1, the noise would leave nothing."""

NO_PLANNER = "no planner is installed: rendered from the words alone; ./studio checkpoints download lm-1.7b brings one"
SWITCHED_OFF = "the planner was switched off: rendered from the words alone"
LEFT_FORMAT = "The networks' numbers left their format: there is no song in them."
HOLD_BACK = "Lower guidance_scale and the weights of adapters, or choose another number format with --dtype."
BY_HAND = "given"
"""Who planned a song whose codes the user brought along."""


def render(
    job: Job, runtime: Runtime, planner: Planner | None, previews: Previews = NO_PREVIEWS
) -> Iterator[Progress | Preview | Take]:
    """Progress before every long step, then one Take for each variation; the same job gives the same samples.

    Previews come between the steps, and change nothing about what comes out of them.
    Raises RequestError when the song would be too long.
    """
    plans = yield from plans_of(job, planner, runtime.shape.sample_rate)
    yield from rendered(job, runtime, plans, previews)


def rendered(
    job: Job, runtime: Runtime, plans: list[Plan], previews: Previews = NO_PREVIEWS
) -> Iterator[Progress | Preview | Take]:
    """The same of a song that is planned."""
    making = _Making(job, runtime, job.timeline(runtime.shape.sample_rate, plans[0].duration_s), plans)
    begun = time.monotonic()
    yield Progress("encoding")
    making = yield from making.with_timbre()
    scene = yield from making.scene()
    yield from _adapted(job, runtime)
    latents = yield from _watched(making.steps(scene), _Listening(making, previews, begun))
    yield Progress("decoding")
    yield from making.takes(latents)


def _adapted(job: Job, runtime: Runtime) -> Iterator[Progress]:
    """Progress while the adapters of a job are read, layer by layer."""
    told = Progress("conditioning", note=" · ".join(["conditioning", *map(str, job.adapters)]))
    yield told
    yield from telling(told, runtime.adapting(job.adapters))


@dataclass(frozen=True, kw_only=True)
class LastStep:
    """A song as the DiT saw it in its last step: `x` `(1, T, C)` at noise level `t`, and what it was shown with it.

    `words` is the `prompts.lyric_text` of its condition, `windows` the frames in which they are sung, `seconds` the
    song's length.
    """

    x: Tensor
    t: float
    view: sampler.View
    words: str
    windows: tuple[tuple[int, int], ...]
    seconds: float


def last_step(
    job: Job, plan: Plan, latents: NDArray[np.float16], runtime: Runtime
) -> Generator[Progress, None, LastStep]:
    """Progress; returns the last step of the one song of a job, taken again from what became of it.

    `plan` is the plan that the song followed, its guide may be missing, and `latents` `(T, C)` are the song's.
    """
    yield Progress("encoding")
    making = _Making(job, runtime, job.timeline(runtime.shape.sample_rate, plan.duration_s), [plan])
    making = yield from making.with_timbre()
    scene = yield from making.last_scene()
    yield from _adapted(job, runtime)
    clean = making.fit(contexts.kept(latents, runtime))
    noise = sampler.draw_noise(sampler.generators_of(job.seeds[:1]), making.frames, runtime.shape.channels).to(clean)
    t = min(1 / (len(making.levels()) - 1), LARGEST_LAST_T)
    return LastStep(
        x=sampler.renoise(clean, noise, t),
        t=t,
        view=making.view(scene),
        words=lyric_text(plan.music),
        windows=making.line.window_frames(runtime.shape),
        seconds=making.line.samples / runtime.shape.sample_rate,
    )


def lyric_text(music: Music) -> str:
    """The words of a song for the lyric encoder."""
    return prompts.lyric_text(music.language or NO_LANGUAGE, music.lyrics)


def plans_of(job: Job, planner: Planner | None, rate: int) -> Generator[Progress, None, list[Plan]]:
    """Progress; returns one plan for each variation, all of one length.

    Needs nothing of the networks that render but the sample rate of the job's recordings.
    """
    request = job.request
    yield Progress("planning")
    known = None if job.source is None else job.source.known
    if job.source is not None and known is None and planner is not None:
        told = Progress("planning", note="listening to the source")
        yield told
        known = yield from telling(told, aside(partial(listen, job.source.audio, rate)))
    if planner is None or job.unplanned or not request.planned:
        return [_unplanned(job, rate, known)] * request.variations
    first, *later = job.spans(rate, known)
    plans: list[Plan] = []
    for seed in job.seeds:
        plan = yield from _planned(planner, request, seed, first)
        for span in later:
            # As if the windows were made one by one: a song goes on in what its plan says.
            span = dataclasses.replace(span, surroundings=known_from(plan.summary()))
            plan = plan.together((yield from _planned(planner, request, seed, span)))
        plans.append(plan)
        first = dataclasses.replace(first, duration_s=plans[0].duration_s)
    return plans


def _planned(planner: Planner, request: SongRequest, seed: int, span: Span) -> Generator[Progress, None, Plan]:
    """Progress; returns the plan of a span."""
    plan = None
    for event in planner.plan(request, seed, span):
        if isinstance(event, Plan):
            plan = event
        else:
            yield event
    assert plan is not None, "a planner ends with a plan"
    return plan


def _unplanned(job: Job, rate: int, known: Known | None) -> Plan:
    """The plan without a planner: as it was given, or with what goes undecided said."""
    duration_s, codes, notes = job.duration_s(rate), job.request.own_plan.codes, []
    if codes is None and job.request.thinks is not None and job.recipe.planner != "none":
        notes.append((job.unplanned or NO_PLANNER) if job.request.thinks else SWITCHED_OFF)
    if duration_s is None:
        notes.append(f"nobody chose a length: {DEFAULT_DURATION_S:g} seconds")
    plan = open_plan(job.request, duration_s or DEFAULT_DURATION_S, known, tuple(notes))
    return plan if codes is None else dataclasses.replace(plan, codes=codes, planner=BY_HAND)


def _watched(steps: Iterable[sampler.Step], listening: _Listening) -> Generator[Progress | Preview, None, Tensor]:
    """Progress after every step, with the time that the rest is likely to take, and previews; returns the last x."""
    step = None
    for step in steps:
        if not step.x.isfinite().all():
            raise StudioError(LEFT_FORMAT, HOLD_BACK)
        yield Progress("denoising", step.index, step.total, listening.left_s(step))
        yield from listening.heard(step)
    assert step is not None
    return step.x


class _Listening:
    """The previews of a song that was `begun` a while ago: which of those that were planned there is time for."""

    def __init__(self, making: _Making, previews: Previews, begun: float) -> None:
        self._making = making
        self._previews = previews
        self._begun = begun
        self._started = time.monotonic()
        self._spent_s = 0.0
        self._each_s: float | None = None

    def left_s(self, step: sampler.Step) -> float:
        """The time that the steps after this one are likely to take, with their previews."""
        coming = sum(index >= step.index for index in self._previews.steps(step.total))
        return self._step_s(step) * (step.total - step.index) + (self._each_s or 0.0) * coming

    def heard(self, step: sampler.Step) -> Iterator[Preview]:
        """The preview after that step, if there is one."""
        if step.index not in self._previews.steps(step.total) or not self._affords(step):
            return
        started = time.monotonic()
        preview = self._making.preview(step, self._previews.seconds)
        self._each_s = time.monotonic() - started
        self._spent_s += self._each_s
        yield preview

    def _step_s(self, step: sampler.Step) -> float:
        return (time.monotonic() - self._started - self._spent_s) / step.index

    def _affords(self, step: sampler.Step) -> bool:
        """Whether one more stays within the share of the song's time; what one takes is known after the first."""
        if self._each_s is None:
            return True
        so_far_s = time.monotonic() - self._begun - self._spent_s
        decoding_s = self._each_s / self._previews.seconds * self._making.decoded_s
        song_s = so_far_s + self._step_s(step) * (step.total - step.index) + decoding_s
        return self._spent_s + self._each_s <= SHARE * song_s


@dataclass(frozen=True)
class _Making:
    """A planned song and the networks that make it; its methods are the stages, in order."""

    job: Job
    runtime: Runtime
    line: Timeline
    plans: list[Plan]
    timbre: Tensor | None = None

    @property
    def frames(self) -> int:
        """Latent frames to render: the song's, or as many as the checkpoint needs at least."""
        return max(self.line.frames(self.runtime.shape), self.job.recipe.min_frames)

    def with_timbre(self) -> Generator[Progress, None, _Making]:
        """Progress; returns the same with the latents of the recording whose timbre is asked for, if one is."""
        recording = self.job.reference
        if recording is None:
            return self
        timbre = yield from contexts.reference(self.runtime, recording.audio)
        return dataclasses.replace(self, timbre=timbre)

    def scene(self) -> Generator[Progress, None, Scene]:
        """Progress while the source is encoded; returns what the DiT will see."""
        scene = yield from self._scene()
        return scene.under(self.job.rendering.chunk_mask)

    def _scene(self) -> Generator[Progress, None, Scene]:
        """The row of docs/modes.md that the request asks for by what it carries."""
        job, runtime, recipe = self.job, self.runtime, self.job.recipe
        request, guide = job.request, (yield from self._guide())
        if not request.from_source:
            return self._new_song(guide)
        source, windows = (yield from self._source()), self.line.window_frames(runtime.shape)
        if request.track_task is not None:
            return contexts.of_tracks(source, request.track_task.task)
        if request.cover is not None:
            return contexts.cover(runtime, source, job.rendering.structure, recipe.task_of_latents)
        if request.morph is not None:
            return contexts.flow(runtime, source, windows, recipe)
        if guide is not None:
            return contexts.guided_repaint(source, guide, windows, recipe.task_of_latents)
        return contexts.repaint(runtime, source, windows)

    def _new_song(self, guide: Tensor | None) -> Scene:
        if guide is not None:
            return contexts.from_guide(guide, self.job.recipe.task_of_latents)
        if self.plans[0].codes is not None:
            return contexts.from_codes(self.runtime, [plan.codes or () for plan in self.plans], self.frames)
        return contexts.from_words(self.runtime, self.frames)

    def last_scene(self) -> Generator[Progress, None, Scene]:
        """What the DiT sees in the last step: a cover that lets its source go ends with the words alone."""
        cover = self.job.request.cover
        return self._words_alone() if cover is not None and cover.steps < 1 else (yield from self.scene())

    def _words_alone(self) -> Scene:
        return contexts.from_words(self.runtime, self.frames).under(self.job.rendering.chunk_mask)

    def fit(self, latents: Tensor) -> Tensor:
        """Latents `(B, T, C)` cut or filled up with silence to the frames that are rendered."""
        return contexts.fit(latents, self.frames, self.runtime.silence(self.frames))

    def _source(self) -> Generator[Progress, None, Tensor]:
        """The source's latents at their place in the song: the kept ones if they lie on its frames."""
        recording = self.job.source
        assert recording is not None
        before, rest = divmod(self.line.offset, self.runtime.shape.hop)
        if recording.latents is not None and rest == 0:
            return self.fit(contexts.kept(recording.latents, self.runtime, before))
        return self.fit((yield from contexts.encode(self.runtime, [self.line.place(recording.audio)])))

    def _guide(self) -> Generator[Progress, None, Tensor | None]:
        """The latents of the planner's guides at their places in the song; None when there are none."""
        if not all(plan.guides for plan in self.plans):
            return None
        placed: Tensor | None = None
        for index, (start, stop) in enumerate(self.line.window_frames(self.runtime.shape)):
            latents = yield from self._guide_of(index)
            if placed is None:
                placed = latents
            else:
                placed[:, start:stop] = latents[:, start:stop]
        return placed

    def _guide_of(self, index: int) -> Generator[Progress, None, Tensor]:
        """The latents of the guides of one window, at its place.

        Around the window a little of the source is encoded with them, so that the edges sound as they will.
        """
        waves, (start, stop), hop = [], self.line.windows[index], self.runtime.shape.hop
        around = hop * self.runtime.shape.frames_of(round(AROUND_S * self.runtime.shape.sample_rate))
        left = max(0, start // hop * hop - around)
        for plan in self.plans:
            wave = self.line.place(None if self.job.source is None else self.job.source.audio)
            wave[:, start:stop] = plan.guides[index][:, : stop - start]
            waves.append(wave[:, left : stop + around])
        latents = yield from contexts.encode(self.runtime, waves)
        return contexts.place(latents, left // hop, self.runtime.silence(self.frames))

    def condition(self, task: Task, source: Music | None = None) -> Condition:
        """The words under the instruction of a task, one item for each variation; a `source` is called by its own."""
        seconds, asked = self.line.samples / self.runtime.shape.sample_rate, self.job.request.track_task
        named = asked.names if asked is not None and asked.task == task else ()
        usual = self.job.recipe.tracks if task == self.job.recipe.task_of_latents else ()
        instruction = prompts.instruction_of(task, named or usual)
        texts, words = [], []
        for plan in self.plans:
            music = dataclasses.replace(plan.music, duration_s=seconds)
            if source is not None:
                music = dataclasses.replace(music, caption=source.caption, lyrics=source.lyrics)
            texts.append(prompts.prompt_text(instruction, music))
            words.append(lyric_text(music))
        return self.runtime.condition(texts, words, [self.timbre] * len(texts))

    def view(self, scene: Scene) -> sampler.View:
        """The scene with the words under its instruction."""
        return sampler.View(context=scene.context, condition=self.condition(scene.task))

    def levels(self) -> tuple[float, ...]:
        """The noise levels of the schedule."""
        rendering = self.job.rendering
        return sampler.noise_levels(rendering.schedule, rendering.steps, rendering.shift, rendering.timesteps)

    def steps(self, scene: Scene) -> Iterator[sampler.Step]:
        """The steps of the denoising, or of a flow edit's morph."""
        request, levels = self.job.request, self.levels()
        generators = sampler.generators_of(self.job.seeds)

        def fresh(_: int) -> Tensor:
            return sampler.draw_noise(generators, self.frames, self.runtime.shape.channels).to(scene.context.device)

        if request.morph is not None:
            return self._morphing(request.morph, scene, levels, fresh)
        noise = fresh(0)
        if request.retake_variance > 0:
            retake = sampler.generators_of(self.job.retake_seeds)
            other = sampler.draw_noise(retake, self.frames, self.runtime.shape.channels).to(noise)
            noise = sampler.retake_noise(noise, other, request.retake_variance)
        return self._denoising(scene, levels, noise, fresh)

    def _denoising(
        self, scene: Scene, levels: tuple[float, ...], noise: Tensor, fresh: Callable[[int], Tensor]
    ) -> Iterator[sampler.Step]:
        cover, x = self.job.request.cover, noise
        later, switch = None, 0
        if cover is not None:
            if cover.noise > 0 and scene.kept is not None:
                levels = sampler.levels_from(levels, cover.noise)
                x = sampler.renoise(scene.kept, noise, levels[0])
            if cover.steps < 1:
                switch = int(cover.steps * (len(levels) - 1))
                later = self.view(self._words_alone())
        run = sampler.DenoiseInputs(
            levels=levels,
            view=self.view(scene),
            guidance=self._guidance(),
            solver=self.job.rendering.solver.name,
            dcw=self.job.rendering.dcw,
            later=later,
            switch=switch,
            repaint=self._repaint(scene, noise, len(levels) - 1),
        )
        return sampler.denoise(self.runtime.velocity, x, run, fresh)

    def _guidance(self) -> sampler.Guidance:
        """The request's guidance; its interval, in parts of the way from noise, becomes noise levels."""
        request = self.job.request
        return sampler.Guidance(
            null=self.runtime.null_condition(),
            scale=self.job.rendering.guidance_scale,
            rule=self.job.rendering.guidance_rule,
            start=1.0 - request.cfg_interval_end,
            end=1.0 - request.cfg_interval_start,
        )

    def _blend(self, seam: Seam) -> sampler.Blend:
        blend = sampler.blend_of(seam.repaint_mode, seam.strength)
        return blend if seam.crossfade_s is None else dataclasses.replace(blend, wave_s=seam.crossfade_s)

    def _repaint(self, scene: Scene, noise: Tensor, steps: int) -> sampler.RepaintWindows | None:
        seam = self.job.request.seam
        if not scene.windows or scene.kept is None or seam is None:
            return None
        blend = self._blend(seam)
        ramp = max(1, round(blend.latent_s * self.runtime.shape.frames_hz))
        return sampler.RepaintWindows(
            windows=scene.windows,
            source=scene.kept,
            noise=noise,
            injections=round(blend.injection * steps),
            ramp=ramp,
        )

    def _morphing(
        self, asked: Morph, scene: Scene, levels: tuple[float, ...], fresh: Callable[[int], Tensor]
    ) -> Iterator[sampler.Step]:
        """The steps of a flow edit from the source's words to the request's; the surroundings go back at the end."""
        assert scene.kept is not None
        known = self.job.source.known if self.job.source else None
        words = self.condition(scene.task, asked.source.over(known.music if known else OPEN))
        morph = flow_edit.FlowEditInputs(
            levels=levels,
            source=sampler.View(context=scene.context, condition=words),
            target=self.view(scene),
            guidance=self._guidance(),
            n_min=asked.n_min,
            n_max=asked.n_max,
            n_avg=asked.n_avg,
        )
        clean = scene.kept.expand(len(self.plans), -1, -1)
        repaint = self._repaint(scene, clean, len(levels) - 1)
        assert repaint is not None
        for step in flow_edit.flow_edit(self.runtime.velocity, clean, morph, fresh):
            last = step.index == step.total
            yield dataclasses.replace(step, x=repaint.blend(step.x)) if last else step

    @property
    def decoded_s(self) -> float:
        """The seconds of audio that all its takes have together."""
        return len(self.plans) * self.line.samples / self.runtime.shape.sample_rate

    def preview(self, step: sampler.Step, seconds: float) -> Preview:
        """What the step foresees of the first take: so many seconds in the middle of the longest window."""
        shape = self.runtime.shape
        start, stop = max(self.line.window_frames(shape), key=lambda window: window[1] - window[0])
        frames = min(stop - start, shape.frames_of(round(seconds * shape.sample_rate)))
        first = start + (stop - start - frames) // 2
        heard = step.clean[:1, first : first + frames]
        (wave,) = finished(contexts.decode(self.runtime, heard, frames * shape.hop))
        return Preview(
            step=step.index,
            total=step.total,
            start_s=first / shape.frames_hz,
            seconds=frames / shape.frames_hz,
            peaks=preview.peaks(wave),
            sound=preview.wav(wave, shape.sample_rate),
        )

    def takes(self, latents: Tensor) -> Iterator[Progress | Take]:
        """Progress, then one take for each variation: decoded, cut to length, put back into its source."""
        latents = latents[:, : self.line.frames(self.runtime.shape)]
        waves = yield from contexts.decode(self.runtime, latents, self.line.samples)
        for index, wave in enumerate(waves):
            if not np.isfinite(wave).all():
                raise StudioError(LEFT_FORMAT, HOLD_BACK)
            finished, gain = self._finished(wave)
            yield Take(
                audio=finished,
                gain=gain,
                latents=contexts.stored(latents[index]),
                plan=self.plans[index],
                request=self.job.narrowed(index, self.plans[index].duration_s),
                windows=self.line.windows,
            )

    def _finished(self, wave: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """The song and its gain over the decoded wave: turned down if it is too loud, or put into its source.

        Beside a source the level is the source's: there, rare peaks are cut off instead.
        """
        recording, seam = self.job.source, self.job.request.seam
        if recording is None or seam is None:
            limited = audio.limit_peak(wave)
            return limited, 1.0 / max(1.0, float(abs(wave).max(initial=0.0)))
        gain = recording.gain if recording.latents is not None else 1.0
        fade = round(max(SHORTEST_FADE_S, self._blend(seam).wave_s) * self.runtime.shape.sample_rate)
        inside, song = (gain * wave).clip(-1.0, 1.0), self.line.place(recording.audio)
        for window in self.line.windows:
            song = audio.splice(song, inside, window, fade)
        return song, gain
