"""The studio itself: one lazily built runtime, one job at a time, and the way from a request to saved tracks."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import os
import secrets
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from checkpoints import find, table
from checkpoints import writers as lyrics_writers
from core.drafts import Draft
from core.errors import RequestError, StudioError
from core.events import Progress, TextDelta
from core.files import sha256
from core.knobs import to_json
from core.lyrics import LyricsRequest
from core.params import PlanRequest, Recipe, Request, SongRequest, audio_knobs
from core.paths import outputs_folder
from core.plans import Facts, Plan
from core.resolve import refuse_muted, resolve
from core.tables import SAMPLE_RATE
from jobs import estimates, lease
from jobs.drafts import drafted
from jobs.plans import planned, planner_of
from jobs.workers import Workers, wait_for_turn
from library import audio
from library.fingerprint import fingerprint
from library.tracks import Library, Record, Track, cache_key
from networks.acestep.lora.presets import open_adapters
from networks.machine import DeviceKind, Machine, process_peak_gb

if TYPE_CHECKING:
    from checkpoints.find import Installed
    from checkpoints.table import Checkpoint
    from checkpoints.writers import Writer
    from networks.machine import Bits, DType, RuntimeName
    from pipeline import Job, Take

TITLE_CHARS = 60

REMEMBERED = 40
"""Tracks of the library from which the estimates learn."""

BUILT_IN_S = 1.0
"""The built-in writer is quicker than anyone reads."""

log = logging.getLogger(__name__)
Event = Progress | TextDelta | Track | Plan | Draft
State = Literal["idle", "loading", "running", "ready"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the studio was started; None chooses for the machine.

    `adapter_homes` are the folders in which a request may name adapters beside the presets; None allows any file,
    which is not for a page that strangers use.
    """

    checkpoint: str | None = None
    runtime: RuntimeName | None = None
    device: str | None = None
    dtype: DType | None = None
    bits: Bits | None = None
    outputs: Path = dataclasses.field(default_factory=outputs_folder)
    adapter_homes: tuple[Path, ...] | None = () if os.environ.get("SPACE_ID") else None

    @property
    def machine(self) -> Machine:
        """How the networks are to run."""
        return Machine(runtime=self.runtime, device=self.device, dtype=self.dtype, bits=self.bits)


@dataclass(frozen=True, kw_only=True)
class Status:
    """The quiet line of the header."""

    checkpoint: str
    device: str
    state: State
    note: str = ""


class Studio:
    """Runs requests, one at a time over all modes, and keeps what they made.

    The runtime is built by the first job that needs it and stays until another checkpoint is asked for.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.library = Library(self.settings.outputs)
        self._workers = Workers()
        self._seen: collections.deque[Track] | None = None
        self._state: State = "idle"
        self._note = ""

    def run(self, request: Request, *, job: str | None = None, fresh: bool = False) -> Generator[Event, None, None]:
        """Events of a job, at least one a second; its results are Tracks, the words of lyrics, a Plan or a Draft.

        The first event comes at once. `job` is the name by which `cancel` knows the job; `fresh` renders again what
        the library holds already. Raises StudioErrors; Cancelled after a cancel. Closing the generator is a cancel too,
        and does not wait.
        """

        def events(stop: threading.Event) -> Generator[Event, None, None]:
            if isinstance(request, LyricsRequest):
                return self._lyrics(request, stop)
            if isinstance(request, PlanRequest):
                recipe = self.recipe(request.checkpoint)
                return planned(request, recipe, self.settings.machine, lambda: self._turn(stop))
            if isinstance(request, SongRequest):
                return self._song(request, stop, fresh)
            return drafted(request, self.settings.machine, lambda: self._turn(stop))

        return self._workers.run(events, job)

    def cancel(self, job: str) -> bool:
        """Whether there was such a job; it ends within one step."""
        return self._workers.cancel(job)

    def recipe(self, checkpoint: str | None = None) -> Recipe:
        """The recipe of a checkpoint; None means the one that the studio runs on. Loads nothing."""
        return table.recipe_of(self._row(checkpoint).name)

    def writer(self, name: str | None = None) -> Writer:
        """The lyric writer of that name; None takes the best that is installed. Loads nothing."""
        return lyrics_writers.find(name)

    def status(self) -> Status:
        """What the studio runs on, and what it is doing."""
        return Status(checkpoint=self._row(None).name, device=self._device(), state=self._state, note=self._note)

    def close(self) -> None:
        """Nothing; running jobs are told to stop and the weights are freed."""
        self._workers.cancel_all()
        with lease.turn:
            lease.unload()

    def estimate_s(self, request: Request) -> float:
        """Seconds that a job is likely to take on this machine; learns from the tracks in the library."""
        if isinstance(request, LyricsRequest):
            return self._writing_s(request)
        assert isinstance(request, SongRequest)
        name, device = self._row(request.checkpoint).name, self._device()
        recipe = table.recipe_of(name)
        if self._seen is None:
            self._seen = collections.deque(reversed(self.library.list()[:REMEMBERED]), maxlen=REMEMBERED)
        seen = [
            (track.tflop, track.seconds_taken)
            for track in self._seen
            if (track.checkpoint, track.device) == (name, device)
        ]
        return estimates.seconds_for(_work_of(request, recipe, device), device, seen)

    def _writing_s(self, request: LyricsRequest) -> float:
        place = self.writer(request.writer).place
        if place is None:
            return BUILT_IN_S
        return estimates.tokens_s(estimates.lyrics_tokens(request), place.checkpoint.parameters, self._device())

    def _row(self, checkpoint: str | None) -> Checkpoint:
        name = checkpoint or self.settings.checkpoint
        return table.row(name) if name else find.default()

    def _device(self) -> DeviceKind:
        return lease.device_kind(self.settings.machine.device)

    # ---- inside the worker -------------------------------------------------------------------------------------------

    def _lyrics(self, request: LyricsRequest, stop: threading.Event) -> Generator[Event, None, None]:
        """Who writes, and the words. The built-in writer needs no turn, for it needs no weights."""
        import lyrics_lm

        writer = self.writer(request.writer)
        resolved = lyrics_writers.assigned(request, writer).resolved(secrets.randbelow)
        if writer.place is None:
            yield from lyrics_lm.write(resolved, writer)
            return
        with self._turn(stop):
            self._state = "loading"
            yield Progress("loading", note=f"loading {writer.title}")
            lease.load_writer(writer.place, self.settings.machine)
            self._state, started = "running", time.monotonic()
            with contextlib.closing(lease.leased_words(resolved, writer)) as events:
                for event in events:
                    if isinstance(event, Progress):
                        self._note = str(event)
                    yield event
            facts = (writer.name, resolved.seed, time.monotonic() - started, process_peak_gb())
            log.info("lyrics with %s, seed %d: in %.1f s, peak memory %.1f GB", *facts)

    def _song(self, request: SongRequest, stop: threading.Event, fresh: bool) -> Generator[Event, None, None]:
        """Checked, looked up, and only then rendered: what is wrong is said before a model loads."""
        name = self._row(request.checkpoint).name
        recipe = table.recipe_of(name)
        place = find.checkpoint(name)
        refuse_muted(request, recipe)
        resolved = dataclasses.replace(resolve(request, recipe, secrets.randbelow), checkpoint=name)
        planner = planner_of(resolved, recipe)
        if planner is not None:
            resolved = dataclasses.replace(resolved, planner=planner.checkpoint.name)  # type: ignore[call-arg]
        hashes = _hashes(resolved)
        adapters = open_adapters(resolved.adapter_choices(), place.folder, self.settings.adapter_homes)
        weights, vae = fingerprint(place.folder), fingerprint((place.companion or place.folder) / "vae")
        job = dataclasses.replace(
            self._job(resolved, recipe, hashes, vae),
            adapters=adapters,
            planner_billions=planner.checkpoint.parameters if planner else 0.0,
        )
        deciding = {**hashes, "adapters": " ".join(adapter.key for adapter in adapters), "weights": weights + vae}
        if planner is not None:
            deciding["planner"] = fingerprint(planner.folder)
        machine = self.settings.machine
        how = (machine.chosen.runtime, self._device(), str(machine.dtype), str(machine.bits))
        key = cache_key(to_json(resolved), deciding, *how)
        known = () if fresh else self.library.find(key)
        if len(known) == resolved.variations:
            yield from known
            return
        record = Record(
            mode=resolved.mode,
            title=_title(resolved),
            checkpoint=name,
            seed=0,
            key=key,
            vae=vae,
            hashes=hashes,
            adapters={each.sha256: each.summary() for each in adapters},
        )
        with self._turn(stop):
            yield from self._made(job, place, planner, record)

    @contextlib.contextmanager
    def _turn(self, stop: threading.Event) -> Iterator[None]:
        """Nothing; the studio is this job's alone. Raises Cancelled when it is stopped while it waits."""
        wait_for_turn(stop)
        try:
            yield
        finally:
            self._state, self._note = ("ready" if lease.loaded() else "idle"), ""
            lease.turn.release()

    def _job(self, request: SongRequest, recipe: Recipe, hashes: Mapping[str, str], vae: str) -> Job:
        """The job with its recordings read. Raises RequestError when one is unusable or the window lies outside it.

        Latents that were kept beside a track are of use to the same VAE alone.
        """
        from pipeline import Job, Recording

        recordings: dict[str, Recording] = {}
        for name, path in _sources(request):
            recording = Recording(audio=audio.load(path, name))
            if track := self.library.find_audio(hashes[name]):
                latents = self.library.latents(track) if track.vae == vae else None
                recording = dataclasses.replace(recording, facts=_facts_of(track), latents=latents, gain=track.gain)
            recordings[name] = recording
        source = recordings.get("src_audio")
        job = Job(request=request, recipe=recipe, source=source, reference=recordings.get("reference_audio"))
        job.duration_s(SAMPLE_RATE)
        return job

    def _made(
        self, job: Job, place: Installed, planner: Installed | None, record: Record
    ) -> Generator[Event, None, None]:
        """The job's progress, then its tracks; one line in the log."""
        from pipeline import Take

        self._state = "loading"
        yield Progress("loading", note=f"loading {place.checkpoint.title}")
        lease.load(place, self.settings.machine)
        if planner is not None:
            yield Progress("loading", note=f"loading {planner.checkpoint.title}")
            lease.load_planner(planner, self.settings.machine)
        self._state, started, takes = "running", time.monotonic(), []
        with contextlib.closing(lease.leased(job)) as events:
            for event in events:
                if isinstance(event, Take):
                    takes.append(event)
                else:
                    self._note = str(event)
                    yield event
        taken, seconds = time.monotonic() - started, takes[0].audio.shape[1] / SAMPLE_RATE
        work = estimates.tflop(job.request, job.recipe, seconds) + estimates.planning_tflop(
            seconds, job.planner_billions, self._device(), len(takes)
        )
        peak_gb = lease.peak_gb()
        record = dataclasses.replace(
            record, device=self._device(), seconds_taken=taken, tflop=work, peak_gb=peak_gb, notes=lease.notes()
        )
        yield Progress("saving")
        for number, take in enumerate(takes):
            track = self.library.save(take.audio, take.latents, _recorded(record, take, number))
            if self._seen is not None:
                self._seen.append(track)
            yield track
        facts = (record.mode, record.checkpoint, job.seeds[0], len(takes) * seconds, taken, peak_gb)
        log.info("%s with %s, seed %d: %.1f s of audio in %.1f s, peak memory %.1f GB", *facts)


# ---- small facts -----------------------------------------------------------------------------------------------------


def _sources(request: SongRequest) -> Iterator[tuple[str, Path]]:
    """(knob, file) of every recording that the request names."""
    for knob in audio_knobs(type(request)):
        path = getattr(request, knob.name)
        if path is not None:
            yield knob.name, path


def _hashes(request: SongRequest) -> dict[str, str]:
    """SHA-256 of the request's recordings by knob. Raises RequestError for what their headers tell is unusable."""
    for name, path in _sources(request):
        audio.probe(path, name)
    return {name: sha256(path) for name, path in _sources(request)}


def _work_of(request: SongRequest, recipe: Recipe, device: DeviceKind) -> float:
    source_s, planner = None, None
    with contextlib.suppress(RequestError):
        source_s = next((audio.probe(path).seconds for name, path in _sources(request) if name == "src_audio"), None)
    with contextlib.suppress(StudioError):
        planner = planner_of(request, recipe)
    seconds = estimates.rendered_s(request, source_s)
    billions = planner.checkpoint.parameters if planner else 0.0
    planning = estimates.planning_tflop(seconds, billions, device, request.variations)
    return estimates.tflop(request, recipe, seconds) + planning


def _title(request: SongRequest) -> str:
    """The first line of the prompt or the lyrics, at most `TITLE_CHARS`; the mode's name when there are no words."""
    line = next(iter((request.prompt.strip() or request.lyrics.strip()).splitlines()), "") or request.mode
    return line if len(line) <= TITLE_CHARS else f"{line[: TITLE_CHARS - 1]}…"


def _recorded(record: Record, take: Take, number: int) -> Record:
    seed, (start, end) = take.request.seed, take.window
    assert seed is not None
    return dataclasses.replace(
        record,
        seed=seed,
        take=number,
        values=to_json(take.request),
        plan=take.plan.summary(),
        notes=(*record.notes, *take.plan.notes),
        gain=take.gain,
        window_start_s=start / SAMPLE_RATE,
        window_end_s=end / SAMPLE_RATE,
    )


def _facts_of(track: Track) -> Facts:
    """What a track knows about its own music."""
    plan = track.plan
    return Facts(
        caption=str(plan.get("caption") or ""),
        bpm=cast("int | None", plan.get("bpm")),
        keyscale=cast("str | None", plan.get("keyscale")),
        timesignature=cast("str | None", plan.get("timesignature")),
        anchor_s=cast(float, plan.get("anchor_s") or 0.0),
    )
