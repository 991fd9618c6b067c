"""What the page asks of the studio: streams of outputs for a job, tracks, settings and lines of text."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

import tooltips
from backend import Studio
from checkpoints import find, table
from checkpoints import writers as lyrics_writers
from core.drafts import Draft, DraftKind
from core.errors import Cancelled, RequestError, StudioError
from core.events import TextDelta
from core.knobs import AUTO, Value, knobs_of, parse
from core.lyrics import LyricsRequest
from core.params import MODES, SONG_MODES
from core.plans import Plan
from core.recipes import Recipe
from core.tables import Mode
from library.tracks import Track
from lyrics.line_counts import compared
from ui import tracks as ui_tracks
from ui.sessions import Jobs
from ui.widgets import AnyRecipe

log = logging.getLogger(__name__)

HISTORY_LENGTH = 40
TOAST_S = 8
QUEUED = "queued"
SAVED = "saved"
CANCELLED = "cancelled · nothing was saved"
UNPLANNED = "cancelled · the plan is as it was"
UNFILLED = "cancelled · the form is as it was"
GONE = "The song is no longer in the library."
FAILED = "The studio failed; its log says why."

SongOutput = tuple[object, object, str]
"""A sound file, its metadata and a line of progress; gr.skip() leaves what is there."""

DraftOutput = tuple["Mapping[str, object] | None", str]
"""The draft once it is there, and a line of progress."""

PlanOutput = tuple[object, str, str]
"""The text of a plan, or gr.skip() until it is there; who planned and how; a line of progress."""

WordsOutput = tuple[str, str]
"""The text so far and a line of progress."""


def told(failure: Exception) -> str:
    """The progress line of a failed job."""
    return str(failure) if isinstance(failure, StudioError) else FAILED


def refusal(failure: Exception) -> gr.Error:
    """The error that the page pops up and a client raises; what a user typed into it is no markup."""
    if not isinstance(failure, StudioError):
        log.error("a job failed", exc_info=failure)
    return gr.Error(html.escape(told(failure), quote=False), duration=TOAST_S, print_exception=False)


class Handlers:
    """The handlers of one studio; `hosted` keeps the songs of different visitors apart."""

    def __init__(self, studio: Studio, *, hosted: bool) -> None:
        self.studio = studio
        self.jobs = Jobs(studio)
        self._hosted = hosted

    def song(self, mode: Mode, values: Mapping[str, object], session: str) -> Iterator[SongOutput]:
        """The outputs of a song mode: progress while it runs, each take as it is saved, the first take in the end."""
        takes: list[Track] = []
        yield gr.skip(), gr.skip(), QUEUED
        try:
            for event in self.jobs.run(mode, values, session):
                if isinstance(event, Track):
                    takes.append(event)
                yield gr.skip(), gr.skip(), SAVED if isinstance(event, Track) else str(event)
        except Cancelled:
            yield gr.skip(), gr.skip(), CANCELLED
            return
        except Exception as failure:
            yield gr.skip(), gr.skip(), told(failure)
            raise refusal(failure) from failure
        ids = [take.id for take in takes]
        for take in reversed(takes):
            yield str(take.path), ui_tracks.metadata(take, ids), f"{SAVED} · {ui_tracks.clock(take.seconds)} of music"

    def again(self, shown: Mapping[str, object] | None, request: gr.Request) -> Iterator[SongOutput]:
        """The outputs of the shown song made once more with a new seed, everything else equal."""
        track = self.find(shown)
        if track is None:
            yield gr.skip(), gr.skip(), GONE
            return
        values = self._asked(track) | {"seed": None}
        yield from self.song(track.mode, values, request.session_hash or "")

    def words(self, values: Mapping[str, object], session: str) -> Iterator[WordsOutput]:
        """The outputs of the lyrics mode: the text as it grows."""
        text, line, written = "", QUEUED, "written"
        yield text, line
        try:
            for event in self.jobs.run("lyrics", values, session):
                if isinstance(event, TextDelta):
                    text += event.text
                else:
                    line = str(event)
                    written = f"written · {line}"
                yield text, line
        except Cancelled:
            yield text, CANCELLED
            return
        except Exception as failure:
            yield text, told(failure)
            raise refusal(failure) from failure
        yield text, written

    def draft(self, kind: DraftKind, values: Mapping[str, object], session: str) -> Iterator[DraftOutput]:
        """The outputs of a draft: none until it is there."""
        yield None, QUEUED
        try:
            for event in self.jobs.run(kind, values, session):
                if isinstance(event, Draft):
                    tempo = f"{event.music.bpm} bpm" if event.music.bpm else None
                    facts = filter(None, ["drafted", event.author, tempo, event.music.keyscale])
                    yield event.values(), " · ".join(facts)
                else:
                    yield None, str(event)
        except Cancelled:
            yield None, UNFILLED
        except Exception as failure:
            yield None, told(failure)
            raise refusal(failure) from failure

    def plan(self, values: Mapping[str, object], session: str) -> Iterator[PlanOutput]:
        """The outputs of a plan without a song."""
        yield gr.skip(), "", QUEUED
        try:
            for event in self.jobs.run("plan", values, session):
                if isinstance(event, Plan):
                    yield event.to_text(), ui_tracks.plan_line(event.summary()), f"planned · {event.planner}"
                else:
                    yield gr.skip(), "", str(event)
        except Cancelled:
            yield gr.skip(), "", UNPLANNED
        except Exception as failure:
            yield gr.skip(), "", told(failure)
            raise refusal(failure) from failure

    def find(self, shown: Mapping[str, object] | None) -> Track | None:
        """The track whose metadata are shown, if it is still in the library."""
        return self.by_id(str(shown["id"])) if shown and "id" in shown else None

    def by_id(self, identity: str) -> Track | None:
        """The track of that id, or None."""
        try:
            return self.studio.library.get(str(identity))
        except (StudioError, KeyError):
            return None

    def history(self, made: Sequence[str] | None) -> list[tuple[str, str]]:
        """(line, id) of the newest songs: all of the library, or, where strangers share it, those of this browser."""
        if self._hosted:
            newest = list(reversed(made or ()))[:HISTORY_LENGTH]  # kept by the browser: anything may stand there
            tracks = [track for track in map(self.by_id, newest) if track]
        else:
            tracks = list(self.studio.library.list())
        return [(ui_tracks.entry(track), track.id) for track in tracks[:HISTORY_LENGTH]]

    def _asked(self, track: Track) -> dict[str, Value]:
        """The track's knobs by name; those that mean nothing to its checkpoint rest at their default."""
        muted = self.studio.recipe(track.checkpoint).muted
        return {
            knob.name: knob.default if knob.name in muted else track.values.get(knob.name, knob.default)
            for knob in knobs_of(MODES[track.mode])
        }

    def settings(self, track: Track) -> dict[str, Value]:
        """The track's knobs by name as its form may show them: a recording that is gone is left out."""
        files = {knob.name for knob in knobs_of(MODES[track.mode]) if knob.kind == "audio"}
        return {name: self._servable(value) if name in files else value for name, value in self._asked(track).items()}

    def _servable(self, value: Value) -> str | None:
        """The file's path if the page may show it: one that the studio made or that was uploaded to it."""
        if not value or not Path(str(value)).is_file():
            return None
        path = Path(str(value)).resolve()
        homes = (self.studio.library.root, Path(get_upload_folder()))
        return str(path) if any(path.is_relative_to(home.resolve()) for home in homes) else None

    def cost(self, mode: Mode, values: Mapping[str, object]) -> str:
        """The text of a run button: what it does and how long that takes here."""
        title, _ = tooltips.MODES[mode]
        words = {"prompt": title} if mode in SONG_MODES else {"brief": title}  # without any the request is refused
        try:
            seconds = self.studio.estimate_s(parse(MODES[mode], {**words, **values}))
        except StudioError:
            return title
        return f"{title} · about {ui_tracks.duration(seconds)} on this machine"

    def recipe(self, checkpoint: str | None) -> Recipe:
        """How a checkpoint wants to be run; of the studio's own for None and for a name that is not known."""
        try:
            return self.studio.recipe(None if checkpoint in (None, AUTO) else checkpoint)
        except StudioError:
            return self.studio.recipe()

    def terms(self, mode: Mode, weights: str | None) -> AnyRecipe:
        """What says which knobs of a mode mean nothing: the recipe of its checkpoint or, for lyrics, of the writer."""
        if mode in SONG_MODES:
            return self.recipe(weights)
        try:
            return self.studio.writer(None if weights in (None, AUTO) else weights).recipe
        except StudioError:
            return self.studio.writer().recipe

    def line_counts(self, draft: str, values: Mapping[str, object]) -> str:
        """The lines of a draft's sections beside those asked for; empty while there is no draft or nothing to ask."""
        try:
            request = parse(LyricsRequest, {**values, "brief": draft.strip()[:1]})
        except RequestError:
            return ""
        return f"Lines as written and asked for · {' · '.join(map(str, compared(request, draft)))}"

    def installed(self) -> dict[str, tuple[str, ...]]:
        """What the knobs that name weights can choose from on this machine now, by knob."""
        return {
            "checkpoint": tuple(row.name for row in find.installed()),
            "planner": tuple(name for name in table.PLANNERS if find.locate(table.row(name))),
            "writer": lyrics_writers.names(),
        }

    def status(self) -> str:
        """The quiet line of the header."""
        status = self.studio.status()
        return " · ".join(part for part in (status.checkpoint, status.device, status.state) if part)
