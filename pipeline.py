"""The making of an ACE-Step song: plan, encode, condition, denoise, splice, decode.

One road for Generate, Cover, Extend and Edit: they differ in their timeline and their scene alone. `render` is a
generator of events, so that progress costs nothing, and closing it between two steps is the cancel.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from core.events import Progress
from core.music import NO_LANGUAGE, NO_WORDS
from core.params import CoverRequest, EditRequest, ExtendRequest, GenerateRequest, SongRequest, Task
from core.plans import Known, Plan, Planner, Span
from core.recipes import Recipe
from core.resolve import Rendering, rendering_of
from core.tables import MAX_SEED
from library import audio
from networks.acestep import flow_edit, prompts, sampler
from networks.acestep import scenes as contexts
from networks.acestep.scenes import Scene
from networks.acestep.timeline import Timeline, timeline_of
from pipeline_plans import plans_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from networks.acestep.lora.adapter import Adapter
    from networks.acestep.runtime import Condition, Runtime

AROUND_S = 0.5
"""How much of the source is encoded around a guide."""

SHORTEST_FADE_S = 0.01
"""Crossfade beside a window at the least: a hard cut clicks."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A source: its waveform `(2, S)` at the runtime's rate, and what its track tells about it, if it has one.

    `latents` `(T, C)` were kept when it was rendered: they spare a second pass through the VAE. The waveform is
    `gain` times what they decode to.
    """

    audio: NDArray[np.float32]
    known: Known | None = None
    latents: NDArray[np.float16] | None = None
    gain: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """A resolved request and all that goes with it. Plain data: it crosses processes.

    `planner_billions` are the parameters of the language model that plans it; 0 where none does.
    """

    request: SongRequest
    recipe: Recipe
    source: Recording | None = None
    reference: Recording | None = None
    adapters: tuple[Adapter, ...] = ()
    planner_billions: float = 0.0

    @cached_property
    def rendering(self) -> Rendering:
        """How it is rendered, every choice made."""
        return rendering_of(self.request, self.recipe)

    @property
    def seeds(self) -> list[int]:
        """One seed for each variation, counting up from the request's."""
        return [_later(self.request.seed, index) for index in range(self.request.variations)]

    @property
    def retake_seeds(self) -> list[int]:
        """The second seed of each variation."""
        return [_later(self.request.retake_seed, index) for index in range(self.request.variations)]

    def narrowed(self, index: int, duration_s: float) -> SongRequest:
        """The request of one variation alone, of that length: the first one's plan chose it for all."""
        chosen: dict[str, Any] = {"seed": self.seeds[index], "variations": 1}
        if isinstance(self.request, GenerateRequest) and self.request.music.duration_s is None and index > 0:
            chosen["duration_s"] = duration_s
        if self.request.retake_seed is not None:
            chosen["retake_seed"] = self.retake_seeds[index]
        return dataclasses.replace(self.request, **chosen)

    def timeline(self, rate: int, duration_s: float) -> Timeline:
        """The song's layout; `duration_s` is the planned length of a song without a source."""
        return timeline_of(self.request, 0 if self.source is None else self.source.audio.shape[1], rate, duration_s)

    def duration_s(self, rate: int) -> float | None:
        """The song's length, as far as the request and the source say."""
        if isinstance(self.request, GenerateRequest):
            return self.request.music.duration_s
        return self.timeline(rate, 0.0).samples / rate

    def span(self, rate: int, known: Known | None) -> Span:
        """The part to be planned: the song, or the window and what surrounds it, in the song's own time."""
        if isinstance(self.request, GenerateRequest):
            return Span(duration_s=self.request.music.duration_s)
        line = self.timeline(rate, 0.0)
        start, end = (sample / rate for sample in line.window)
        known = known or Known()
        known = dataclasses.replace(known, anchor_s=known.anchor_s + line.offset / rate)
        return Span(start_s=start, duration_s=end - start, surroundings=known)


def _later(seed: int | None, index: int) -> int:
    assert seed is not None, "the request is not resolved"
    return (seed + index) % (MAX_SEED + 1)


@dataclass(frozen=True, kw_only=True)
class Take:
    """One rendered song: its waveform `(2, S)`, its latents `(T, C)`, the plan it follows, and its request.

    `window` are the samples that are new, from the first to the one after the last. The waveform is `gain` times what
    the latents decode to. The request is the job's, narrowed to this variation: rendering it again gives this take.
    """

    audio: NDArray[np.float32]
    latents: NDArray[np.float16]
    plan: Plan
    request: SongRequest
    window: tuple[int, int]
    gain: float


def render(job: Job, runtime: Runtime, planner: Planner | None) -> Iterator[Progress | Take]:
    """Progress before every long step, then one Take for each variation; the same job gives the same samples.

    Raises RequestError when the song would be too long.
    """
    plans = yield from plans_of(job, planner, runtime.shape.sample_rate)
    making = _Making(job, runtime, job.timeline(runtime.shape.sample_rate, plans[0].duration_s), plans)
    yield Progress("encoding")
    scene = making.scene()
    yield Progress("conditioning", note=" · ".join(["conditioning", *map(str, job.adapters)]))
    runtime.set_adapters(job.adapters)
    latents = yield from _watched(making.steps(scene))
    yield Progress("decoding")
    yield from making.takes(latents)


def _watched(steps: Iterable[sampler.Step]) -> Generator[Progress, None, Tensor]:
    """Progress after every step, with the time that the rest is likely to take; returns the last x."""
    started = time.monotonic()
    step = None
    for step in steps:
        per_step = (time.monotonic() - started) / step.index
        yield Progress("denoising", step.index, step.total, per_step * (step.total - step.index))
    assert step is not None
    return step.x


@dataclass(frozen=True)
class _Making:
    """A planned song and the networks that make it; its methods are the stages, in order."""

    job: Job
    runtime: Runtime
    line: Timeline
    plans: list[Plan]

    @property
    def frames(self) -> int:
        """Latent frames to render: the song's, or as many as the checkpoint needs at least."""
        return max(self.line.frames(self.runtime.shape), self.job.recipe.min_frames)

    def scene(self) -> Scene:
        """What the DiT will see: the row of docs/modes.md that the request asks for."""
        job, runtime, recipe = self.job, self.runtime, self.job.recipe
        request, plan = job.request, self.plans[0]
        guide = self._guide()
        if isinstance(request, GenerateRequest):
            if guide is not None:
                return contexts.from_guide(guide, recipe.task_of_latents)
            if plan.codes is not None:
                return contexts.from_codes(runtime, [p.codes or () for p in self.plans], self.frames)
            return contexts.from_words(runtime, self.frames)
        source = self._source()
        window = self.line.window_frames(runtime.shape)
        if isinstance(request, CoverRequest) and request.task_type != "cover":
            return contexts.of_tracks(source, request.task_type)
        if isinstance(request, CoverRequest):
            return contexts.cover(runtime, source, job.rendering.structure, recipe.task_of_latents)
        if isinstance(request, EditRequest) and request.edit_mode == "flow":
            return contexts.flow(runtime, source, window, recipe)
        if guide is not None:
            return contexts.guided_repaint(source, guide, window, recipe.task_of_latents)
        return contexts.repaint(runtime, source, window)

    def _fit(self, latents: Tensor) -> Tensor:
        return contexts.fit(latents, self.frames, self.runtime.silence(self.frames))

    def _source(self) -> Tensor:
        """The source's latents at their place in the song: the kept ones if they lie on its frames."""
        recording = self.job.source
        assert recording is not None
        before, rest = divmod(self.line.offset, self.runtime.shape.hop)
        if recording.latents is not None and rest == 0:
            return self._fit(contexts.kept(recording.latents, self.runtime, before))
        return self._fit(contexts.encode(self.runtime, [self.line.place(recording.audio)]))

    def _guide(self) -> Tensor | None:
        """The latents of the planner's guides at their place in the song; None when there are none.

        Around the window a little of the source is encoded with them, so that the edges sound as they will.
        """
        waves, (start, stop), hop = [], self.line.window, self.runtime.shape.hop
        around = hop * self.runtime.shape.frames_of(round(AROUND_S * self.runtime.shape.sample_rate))
        left = max(0, start // hop * hop - around)
        for plan in self.plans:
            if plan.guide is None:
                return None
            wave = self.line.place(None if self.job.source is None else self.job.source.audio)
            wave[:, start:stop] = plan.guide[:, : stop - start]
            waves.append(wave[:, left : stop + around])
        return contexts.place(contexts.encode(self.runtime, waves), left // hop, self.runtime.silence(self.frames))

    def condition(self, task: Task, caption: str | None = None, lyrics: str | None = None) -> Condition:
        """The words under the instruction of a task, one item for each variation; given words replace the plan's."""
        request, seconds = self.job.request, self.line.samples / self.runtime.shape.sample_rate
        named = request.track_names() if isinstance(request, CoverRequest) and request.task_type == task else ()
        usual = self.job.recipe.tracks if task == self.job.recipe.task_of_latents else ()
        instruction = prompts.instruction_of(task, named or usual)
        texts, words = [], []
        for plan in self.plans:
            music = dataclasses.replace(plan.music, duration_s=seconds)
            if caption is not None:
                music = dataclasses.replace(music, caption=caption)
            texts.append(prompts.prompt_text(instruction, music))
            words.append(prompts.lyric_text(music.language or NO_LANGUAGE, music.lyrics if lyrics is None else lyrics))
        return self.runtime.condition(texts, words, [self._reference()] * len(texts))

    def _reference(self) -> Tensor | None:
        recording = self.job.reference
        return None if recording is None else contexts.reference(self.runtime, recording.audio)

    def steps(self, scene: Scene) -> Iterator[sampler.Step]:
        """The steps of the denoising, or of a flow edit's morph."""
        request, rendering = self.job.request, self.job.rendering
        levels = sampler.noise_levels(rendering.schedule, rendering.steps, rendering.shift, rendering.timesteps)
        generators = [generator for seed in self.job.seeds for generator in sampler.generators_of(seed, 1)]

        def fresh(_: int) -> Tensor:
            return sampler.draw_noise(generators, self.frames, self.runtime.shape.channels).to(scene.context.device)

        if isinstance(request, EditRequest) and request.edit_mode == "flow":
            return self._morph(request, scene, levels, fresh)
        noise = fresh(0)
        if request.retake_variance > 0:
            others = [g for seed in self.job.retake_seeds for g in sampler.generators_of(seed, 1)]
            other = sampler.draw_noise(others, self.frames, self.runtime.shape.channels).to(noise)
            noise = sampler.retake_noise(noise, other, request.retake_variance)
        return self._denoising(scene, levels, noise, fresh)

    def _denoising(
        self, scene: Scene, levels: tuple[float, ...], noise: Tensor, fresh: Callable[[int], Tensor]
    ) -> Iterator[sampler.Step]:
        request, x = self.job.request, noise
        later, switch = None, 0
        if isinstance(request, CoverRequest) and request.task_type == "cover":
            if request.cover_noise_strength > 0 and scene.kept is not None:
                levels = sampler.levels_from(levels, request.cover_noise_strength)
                x = sampler.renoise(scene.kept, noise, levels[0])
            if request.audio_cover_strength < 1:
                switch = int(request.audio_cover_strength * (len(levels) - 1))
                words = contexts.from_words(self.runtime, self.frames)
                later = sampler.View(context=words.context, condition=self.condition(words.task))
        run = sampler.Run(
            levels=levels,
            view=sampler.View(context=scene.context, condition=self.condition(scene.task)),
            guidance=self._guidance(),
            solver=self.job.rendering.solver.name,
            later=later,
            switch=switch,
            window=self._window(scene, noise, len(levels) - 1),
        )
        return sampler.denoise(self.runtime.velocity, x, run, fresh)

    def _guidance(self) -> sampler.Guidance:
        """The request's guidance; its interval, told as parts of the way from noise, becomes noise levels."""
        request = self.job.request
        return sampler.Guidance(
            null=self.runtime.null_condition(),
            scale=self.job.rendering.guidance_scale,
            rule=self.job.rendering.guidance_rule,
            start=1.0 - request.cfg_interval_end,
            end=1.0 - request.cfg_interval_start,
        )

    def _blend(self) -> sampler.Blend:
        request = self.job.request
        if isinstance(request, EditRequest):
            return sampler.blend_of(request.repaint_mode, request.repaint_strength)
        assert isinstance(request, ExtendRequest)
        return dataclasses.replace(sampler.blend_of("conservative", 0.0), wave_s=request.crossfade_s)

    def _window(self, scene: Scene, noise: Tensor, steps: int) -> sampler.Window | None:
        if scene.window is None or scene.kept is None:
            return None
        blend, (start, stop) = self._blend(), scene.window
        ramp = max(1, round(blend.latent_s * self.runtime.shape.frames_hz))
        return sampler.Window(
            start=start,
            stop=stop,
            source=scene.kept,
            noise=noise,
            injections=round(blend.injection * steps),
            ramp=ramp,
        )

    def _morph(
        self, request: EditRequest, scene: Scene, levels: tuple[float, ...], fresh: Callable[[int], Tensor]
    ) -> Iterator[sampler.Step]:
        """The steps of a flow edit from the source's words to the request's; the surroundings go back at the end."""
        assert scene.kept is not None
        known = self.job.source.known if self.job.source else None
        caption = request.source_prompt.strip() or (known.music.caption if known else "")
        words = self.condition(scene.task, caption, request.source_lyrics.strip() or NO_WORDS)
        morph = flow_edit.Morph(
            levels=levels,
            source=sampler.View(context=scene.context, condition=words),
            target=sampler.View(context=scene.context, condition=self.condition(scene.task)),
            guidance=self._guidance(),
            n_min=request.n_min,
            n_max=request.n_max,
            n_avg=request.n_avg,
        )
        clean = scene.kept.expand(len(self.plans), -1, -1)
        window = self._window(scene, clean, len(levels) - 1)
        assert window is not None
        for step in flow_edit.flow_edit(self.runtime.velocity, clean, morph, fresh):
            last = step.index == step.total
            yield dataclasses.replace(step, x=window.blend(step.x)) if last else step

    def takes(self, latents: Tensor) -> Iterator[Take]:
        """One take for each variation: decoded, cut to length, and the source put back where it is kept."""
        latents = latents[:, : self.line.frames(self.runtime.shape)]
        for index, wave in enumerate(contexts.decode(self.runtime, latents, self.line.samples)):
            finished, gain = self._finished(wave)
            yield Take(
                audio=finished,
                gain=gain,
                latents=contexts.stored(latents[index]),
                plan=self.plans[index],
                request=self.job.narrowed(index, self.plans[index].duration_s),
                window=self.line.window,
            )

    def _finished(self, wave: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """The song and its gain over the decoded wave: turned down if it is too loud, or put into its source.

        Beside a source the level is the source's: there, rare peaks are cut off instead.
        """
        recording = self.job.source
        if recording is None or isinstance(self.job.request, CoverRequest):
            limited = audio.limit_peak(wave)
            return limited, 1.0 / max(1.0, float(abs(wave).max(initial=0.0)))
        gain = recording.gain if recording.latents is not None else 1.0
        fade = round(max(SHORTEST_FADE_S, self._blend().wave_s) * self.runtime.shape.sample_rate)
        inside = (gain * wave).clip(-1.0, 1.0)
        return audio.splice(self.line.place(recording.audio), inside, self.line.window, fade), gain
