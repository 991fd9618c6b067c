"""Songs: checked, looked up in the library, and only then rendered and saved."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from checkpoints import find, table
from checkpoints.find import Installed
from core.errors import Fault, RequestError, StudioError
from core.events import Progress, Sign, Stage
from core.files import sha256
from core.knobs import Json, changed, to_json
from core.params import UNHEARD, GenerateRequest, SongRequest, audio_knobs
from core.plans import LONGEST_SUNG_S, known_from
from core.recipes import Recipe
from core.resolve import refuse_muted, refuse_source, rendering_of, resolve, unsung
from core.steps import telling
from core.tables import SAMPLE_RATE
from jobs import estimates
from jobs.desk import Desk, Event, gathered
from jobs.engines import ENGINES, engine_of
from jobs.estimates import Cost
from jobs.models import Models
from jobs.plans import GET_CODES, PLANNERS, billions_of
from jobs.time_left import TimeLeft
from jobs.titles import name_of_source, title_of
from jobs.work import Effort, Need
from library import decoder
from library.cache import cache_key, fingerprint
from library.latents import Kept
from library.records import Record, Track
from library.tracks import BYTES_PER_S, Found
from networks.acestep.lora.presets import open_adapters

if TYPE_CHECKING:
    from networks.acestep.job import Job, Recording, Take
    from networks.acestep.lora.adapter import Adapter

READING = Progress("queued", note="reading the recording")
"""Told before a job stands in the line: what waits may still be dropped."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SongWork:
    """A song, or several variations of it, with everything at hand; of its needs the song's networks are the last.

    No planner makes it longer than `longest_s`, where there is a bound.
    """

    job: Job
    needs: tuple[Need, ...]
    cost: Cost
    longest_s: float | None = None
    remedy: ClassVar[str] = "Make it shorter, or fewer variations."

    def events(self, models: Models) -> Iterator[Sign | Take]:
        """Progress and previews, then one Take for each variation."""
        from pipeline import plans_of

        planner = PLANNERS[self.job.recipe.planner].opened(models, self.needs)
        plans = yield from plans_of(self.job, planner, SAMPLE_RATE)
        yield from models.bring(self.needs[-1])
        request, seconds = self.job.request, plans[0].duration_s
        if self.longest_s is not None and seconds > self.longest_s:
            rule = f"must be at most {self.longest_s:g} seconds on this server, and was planned to be longer"
            raise RequestError([Fault("duration_s", seconds, rule)], "Say how long it shall be.")
        recipe = self.job.recipe
        models.make_room(estimates.song(request, recipe, seconds).working_gb)
        previews = estimates.previews(request, recipe, seconds)
        yield from ENGINES[recipe.engine].rendered(self.job, models.song, plans, previews)


@dataclass(frozen=True, kw_only=True)
class Order:
    """A song that can be made: the work, the record that its tracks begin with, and what its source is called."""

    work: SongWork
    record: Record
    source: str = ""

    def noted(self, *notes: str) -> Order:
        """The same with more to be said in its tracks."""
        return dataclasses.replace(self, record=dataclasses.replace(self.record, notes=(*self.record.notes, *notes)))


class Songs:
    """Songs of every mode."""

    def events(
        self, request: SongRequest, desk: Desk, stop: threading.Event, *, fresh: bool
    ) -> Generator[Event, None, None]:
        """Progress, then the Tracks: those of the library where it has them all, unless they shall be made afresh."""
        order = yield from ordering(request, desk)
        stored = Found() if fresh else desk.library.whole(order.record.key)
        if len(stored.whole) == request.variations:
            yield from stored.whole
            return
        order = order.noted(*(f"made anew: the audio of {track.id} is not what was saved" for track in stored.damaged))
        seconds = order.work.job.duration_s(SAMPLE_RATE) or estimates.PLANNED_S
        desk.library.require_room(round(request.variations * seconds * BYTES_PER_S))
        takes: list[Take] = []
        events = _time_left(order, desk).told(desk.perform(order.work, stop))
        effort = yield from gathered(events, takes)
        yield Progress("saving")
        yield from _saved(order, takes, effort, desk)

    def seconds(self, request: SongRequest, desk: Desk) -> float:
        """The time of rendering at the pace of this machine; a song whose length is open counts as a minute."""
        name = desk.row(request.checkpoint).name
        recipe = table.recipe_of(name)
        source_s: float | None = None
        needs: tuple[Need, ...] = ()
        with suppress(RequestError):
            sources = (decoder.probe(path).seconds for knob, path in _sources(request) if knob == "src_audio")
            source_s = next(sources, None)
        with suppress(StudioError):
            needs = PLANNERS[recipe.planner].needs(request)
        cost = _cost(request, recipe, needs, estimates.rendered_s(request, source_s))
        return cost.seconds(desk.device, desk.pace.seen(name, desk.device))


def usual_needs(desk: Desk) -> tuple[Need, ...]:
    """What most songs need loaded: the checkpoint that the studio runs on, and the planner of its new songs.

    Raises MissingWeights when the checkpoint is not installed.
    """
    place = find.checkpoint(desk.row().name)
    planner = PLANNERS[table.recipe_of(place.checkpoint.name).planner]
    return (*planner.needs(GenerateRequest()), Need("song", place))


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A request in which nothing is left to be chosen, with all that decides its samples, before a recording is read.

    `unplanned` says why the planner at hand plans nothing, if it does not; the last need is the song's networks.
    """

    request: SongRequest
    recipe: Recipe
    needs: tuple[Need, ...]
    adapters: tuple[Adapter, ...]
    unplanned: str
    record: Record


def ordering(request: SongRequest, desk: Desk) -> Generator[Progress, None, Order]:
    """Progress while recordings are read; returns the request with all that goes with it.

    Raises StudioErrors for whatever is wrong with it.
    """
    if any(_sources(request)):
        yield READING
        yield from telling(READING, decoder.started())
    made = settled(request, desk)
    job, left = yield from _job(made, desk)
    known_s = job.duration_s(SAMPLE_RATE)
    refuse_source(made.request, made.recipe, known_s)
    desk.refuse_longer(known_s)
    cost = _cost(made.request, made.recipe, made.needs[:-1], known_s or LONGEST_SUNG_S)
    source = _source_name(made.request, made.record.hashes, desk)
    work = SongWork(job=job, needs=made.needs, cost=cost, longest_s=desk.max_duration_s)
    return Order(work=work, record=made.record, source=source).noted(*left)


def settled(request: SongRequest, desk: Desk) -> Settled:
    """The request as it would be made now. Raises StudioErrors for whatever is wrong with it, its recordings apart."""
    name = desk.row(request.checkpoint).name
    recipe, place = table.recipe_of(name), find.checkpoint(name)
    refuse_muted(request, recipe)
    resolved = dataclasses.replace(resolve(request, recipe, secrets.randbelow), checkpoint=name)
    planners = PLANNERS[recipe.planner].needs(resolved)
    unplanned = "" if place.has_codes else _without_codes(resolved, recipe, place, planners)
    if unplanned:
        planners = ()
    for need in planners:
        resolved = changed(resolved, {"planner": need.place.checkpoint.name})
    hashes = _hashes(resolved)
    adapters = open_adapters(resolved.adapter_choices(), place.folder, desk.adapter_homes)
    weights, vae = fingerprint(place.folder), fingerprint(place.vae)
    deciding = {**hashes, "adapters": " ".join(adapter.key for adapter in adapters), "weights": weights + vae}
    deciding |= {need.role: fingerprint(need.place.folder) for need in planners}
    song = Need("song", place)
    machine = desk.replica.models.machine_for(song)
    how = (machine.chosen.runtime, desk.device, str(machine.dtype), str(machine.bits))
    record = Record(
        mode=resolved.mode,
        title="",
        checkpoint=name,
        seed=0,
        key=cache_key(_deciding(resolved), deciding, *how),
        vae=vae,
        hashes=hashes,
        adapters={each.sha256: each.summary() for each in adapters},
        device=desk.device,
    )
    return Settled(
        request=resolved,
        recipe=recipe,
        needs=(*planners, song),
        adapters=adapters,
        unplanned=unplanned,
        record=record,
    )


def _without_codes(request: SongRequest, recipe: Recipe, place: Installed, planners: Sequence[Need]) -> str:
    """Why the planner at hand plans nothing for a checkpoint that reads no codes; empty where none would.

    Raises RequestError for what asks for codes in so many words.
    """
    lack, faults = find.no_codes(place), []
    if request.cover is not None and rendering_of(request, recipe).structure == "codes":
        faults.append(Fault("cover_structure", "codes", f"must be latents: {lack}"))
    if request.own_plan.codes is not None:
        faults.append(Fault("plan", to_json(request)["plan"], f"must hold no codes: {lack}"))
    if isinstance(request, GenerateRequest) and request.planned and request.planner is not None:
        faults.append(Fault("planner", request.planner, f"must be empty: {lack}, and a plan is codes"))
    if faults:
        raise RequestError(faults, GET_CODES)
    return f"{lack}: rendered from the words alone. {GET_CODES}" if planners else ""


def _saved(order: Order, takes: Sequence[Take], effort: Effort, desk: Desk) -> Iterator[Progress | Track]:
    """The tracks of the takes, then Progress for each that the disk refused; one line in the log.

    Raises StudioError when it refused them all.
    """
    job, seconds = order.work.job, takes[0].audio.shape[1] / SAMPLE_RATE
    record = dataclasses.replace(
        order.record,
        device=desk.device,
        seconds_taken=effort.seconds,
        tflop=_cost(job.request, job.recipe, order.work.needs, seconds).arithmetic(desk.device),
        peak_gb=effort.peak_gb,
        notes=(*order.record.notes, *effort.notes, *filter(None, [unsung(job.request, job.recipe)])),
    )
    refused: dict[int, StudioError] = {}
    for number, take in enumerate(takes):
        try:
            track = desk.library.save(take.audio, take.latents, _recorded(record, take, number, order.source))
        except StudioError as error:
            refused[number] = error
            continue
        desk.pace.add(track)
        yield track
    if len(refused) == len(takes):
        raise refused[0]
    for number, why in refused.items():
        yield Progress("saving", note=f"take {number + 1} of {len(takes)} is lost: {why.message}")
    facts = (record.mode, record.checkpoint, job.seeds[0], len(takes) * seconds, effort.seconds, effort.peak_gb)
    log.info("%s with %s, seed %d: %.1f s of audio in %.1f s, peak memory %.1f GB", *facts)


def _time_left(order: Order, desk: Desk) -> TimeLeft:
    """The estimate of a song that is about to be made; one whose length is open counts as a minute."""
    job, device = order.work.job, desk.device
    where = (order.record.checkpoint, device)
    seconds = job.duration_s(SAMPLE_RATE) or estimates.PLANNED_S
    planning = estimates.planning(seconds, billions_of(order.work.needs), job.request.variations)
    drawing = estimates.drawing(job.request, job.recipe, seconds)
    parts: dict[Stage, float] = {"planning": planning.arithmetic(device), "generating": drawing.arithmetic(device)}
    return TimeLeft(
        parts={**parts, **estimates.stages(job.request, job.recipe, seconds)},
        where=where,
        per_tflop=estimates.per_tflop(device, desk.pace.seen(*where)),
        pace=desk.pace.stages,
    )


def _cost(request: SongRequest, recipe: Recipe, needs: tuple[Need, ...], seconds: float) -> Cost:
    planning = estimates.planning(seconds, billions_of(needs), request.variations)
    return estimates.song(request, recipe, seconds) + planning


def _sources(request: SongRequest) -> Iterator[tuple[str, Path]]:
    """(knob, file) of every recording that the request names."""
    for knob in audio_knobs(type(request)):
        path = getattr(request, knob.name)
        if path is not None:
            yield knob.name, path


def _hashes(request: SongRequest) -> dict[str, str]:
    """SHA-256 of the request's recordings by knob. Raises RequestError for what their headers tell is unusable."""
    for name, path in _sources(request):
        decoder.probe(path, name)
    return {name: sha256(path) for name, path in _sources(request)}


def _job(made: Settled, desk: Desk) -> Generator[Progress, None, tuple[Job, list[str]]]:
    """Progress; returns the job with its recordings read, and what is to be said of those.

    Raises RequestError when one is unusable or the window lies outside it. Latents that were kept beside a track are of
    use to the same VAE alone, and only where they are that track's.
    """
    from networks.acestep.job import Job, Recording

    recordings: dict[str, Recording] = {}
    left: list[str] = []
    for name, path in _sources(made.request):
        yield READING
        recording = Recording(audio=(yield from telling(READING, decoder.loading(path, name))))
        if track := desk.library.find_audio(made.record.hashes[name]):
            kept, shape = Kept(None), latent_shape(made.needs[-1].place, recording.audio.shape[1])
            if name == "src_audio" and track.vae == made.record.vae and shape is not None:
                kept = desk.library.latents(track, shape)
            if kept.fault:
                left.append(f"the latents kept beside {track.id} were left aside: {kept.fault}")
            known = known_from(track.plan)
            recording = dataclasses.replace(recording, known=known, latents=kept.latents, gain=track.gain)
        recordings[name] = recording
    job = Job(
        request=made.request,
        recipe=made.recipe,
        source=recordings.get("src_audio"),
        reference=recordings.get("reference_audio"),
        adapters=made.adapters,
        unplanned=made.unplanned,
    )
    job.duration_s(SAMPLE_RATE)
    return job, left


def latent_shape(place: Installed, samples: int) -> tuple[int, int] | None:
    """The shape `(T, C)` of the latents that are kept of a song of so many samples; None where none are."""
    return engine_of(place).latent_shape(place, samples)


def _deciding(request: SongRequest) -> dict[str, Json]:
    """The values of the request that have a say in how the song sounds."""
    return {name: value for name, value in to_json(request).items() if name not in UNHEARD}


def _source_name(request: SongRequest, hashes: Mapping[str, str], desk: Desk) -> str:
    """What the source of a song is called; empty where it has none."""
    path = dict(_sources(request)).get("src_audio")
    return "" if path is None else name_of_source(path, hashes["src_audio"], desk.library)


def _recorded(record: Record, take: Take, number: int, source: str) -> Record:
    seed, windows_s = take.request.seed, [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in take.windows]
    assert seed is not None
    return dataclasses.replace(
        record,
        title=title_of(take.request, take.plan, source),
        seed=seed,
        take=number,
        values=to_json(take.request),
        plan=take.plan.summary(),
        notes=(*record.notes, *take.plan.notes),
        gain=take.gain,
        window_start_s=windows_s[0][0],
        window_end_s=windows_s[-1][1],
        several_s=tuple(windows_s) if len(windows_s) > 1 else (),
    )
