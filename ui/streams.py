"""How the events of a job become the outputs of its endpoint: one row for each kind of result."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import gradio as gr

from core.actions import ACTIONS
from core.drafts import DRAFTS, Draft
from core.errors import Cancelled, MissingWeights, RequestError, StudioError
from core.events import Preview, Progress, TextDelta
from core.params import SONG_MODES
from core.plans import Plan
from jobs.desk import Event
from jobs.workers import Ticket
from library.companions import Companion
from library.records import Track
from ui import faults, tracks, working
from ui.faults import Place
from ui.sessions import Jobs, Then

log = logging.getLogger(__name__)

TOAST_S = 8
QUEUED = "queued"
FAILED = "The studio failed; its log says why."

Outputs = tuple[object, ...]
"""A value for each component, gr.skip() for what it holds already; the line of progress comes last."""


def _unchanged(values: Outputs, event: Event) -> Outputs:
    """Leave everything as it is until the result is there."""
    return values


@dataclass(frozen=True, kw_only=True)
class ResultKind:
    """One kind of result.

    `empty` is what the components hold before there is any, without the line; `grow` what they hold after one more
    event; `results` are the outputs once the job has ended well, in turn. `done` is the line while a result is there
    and others are still to come, `cancelled` that of a job that was stopped.
    """

    empty: Outputs
    results: Callable[[Sequence[Event]], Iterable[Outputs]]
    grow: Callable[[Outputs, Event], Outputs] = _unchanged
    done: str
    cancelled: str

    def line(self, event: Event, before: str) -> str:
        """The line of progress after an event: a piece of text or sound leaves the one before it."""
        if isinstance(event, Progress):
            return str(event)
        return before if isinstance(event, TextDelta | Preview) else self.done


def _songs(events: Sequence[Event]) -> Iterator[Outputs]:
    """Each take's sound file and metadata, the first take in the end."""
    takes = [event for event in events if isinstance(event, Track)]
    ids = [take.id for take in takes]
    lost = [event.note for event in events if isinstance(event, Progress) and event.stage == "saving" and event.note]
    for take in reversed(takes):
        line = " · ".join(["saved", f"{tracks.clock(take.seconds)} of music", *lost])
        yield str(take.path), tracks.metadata(take, ids), line


def _more_words(values: Outputs, event: Event) -> Outputs:
    """The text so far; until there is any the draft before it stands, whatever was changed in it by hand."""
    if not isinstance(event, TextDelta):
        return values
    return (f"{values[0]}{event.text}" if isinstance(values[0], str) else event.text,)


def _words(events: Sequence[Event]) -> Iterator[Outputs]:
    """The text, and what was last said of it."""
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    lines = [str(event) for event in events if isinstance(event, Progress)]
    yield text, " · ".join(["written", *lines[-1:]])


def _drafts(events: Sequence[Event]) -> Iterator[Outputs]:
    """The draft by its fields."""
    for draft in events:
        if isinstance(draft, Draft):
            tempo = f"{draft.music.bpm} bpm" if draft.music.bpm else None
            facts = filter(None, ["drafted", draft.author, tempo, draft.music.keyscale])
            yield draft.values(), " · ".join(facts)


def _plans(events: Sequence[Event]) -> Iterator[Outputs]:
    """The text of the plan, and who planned."""
    for plan in events:
        if isinstance(plan, Plan):
            yield plan.to_text(), tracks.plan_line(plan.summary()), f"planned · {plan.planner}"


def _made(events: Sequence[Event]) -> Iterator[Outputs]:
    """The files that an action made, and what there is to know about them."""
    for companion in events:
        if isinstance(companion, Companion):
            made = companion.files[-1].name  # of several files the last one holds them all
            yield (
                [str(file) for file in companion.files],
                companion.summary(),
                " · ".join(["made", made, *companion.notes]),
            )


SONG = ResultKind(empty=(gr.skip(), gr.skip()), results=_songs, done="saved", cancelled="cancelled · nothing was saved")
WORDS = ResultKind(
    empty=(gr.skip(),), grow=_more_words, results=_words, done="written", cancelled="cancelled · nothing was saved"
)
DRAFT = ResultKind(empty=(None,), results=_drafts, done="drafted", cancelled="cancelled · the form is as it was")
PLAN = ResultKind(empty=(gr.skip(), ""), results=_plans, done="planned", cancelled="cancelled · the plan is as it was")

ACTION = ResultKind(empty=(gr.skip(), gr.skip()), results=_made, done="made", cancelled="cancelled · nothing was made")

RESULT_KINDS: Mapping[str, ResultKind] = {
    **dict.fromkeys(SONG_MODES, SONG),
    "lyrics": WORDS,
    "plan": PLAN,
    **dict.fromkeys(DRAFTS, DRAFT),
    **dict.fromkeys(ACTIONS, ACTION),
}
"""What comes of each request, by the name of its endpoint."""


FROM_A_LINE = "from a line"
"""What a draft and the song that is made of it are found as: they are one job."""

NOWHERE: Mapping[str, Place] = MappingProxyType({})


def outputs(
    jobs: Jobs,
    name: str,
    values: Mapping[str, object],
    session: str,
    places: Mapping[str, Place] = NOWHERE,
) -> Iterator[Outputs]:
    """The outputs of a job from its start to its end; `places` are where the page shows the knobs.

    A job that is stopped ends with a line that says so; one that fails says why in its line, and at the fields that are
    at fault, then raises a gr.Error. Only a page is told more of a song's progress than a line, but whoever asked for
    previews is told them (ui/working.py).
    """
    on_page = jobs.is_expected(session)
    return _told(name, jobs.run(name, values, session), places, on_page=on_page)


def outputs_of_both(
    jobs: Jobs,
    line: Mapping[str, object],
    song: Callable[[Mapping[str, Any]], Mapping[str, object]],
    session: str,
    places: Mapping[str, Place],
) -> Iterator[Outputs]:
    """The outputs of a song and of the draft from a line, one job: those of the song come first.

    `song` makes the values of its request of the draft. Nothing is held of the draft until it is there.
    """

    def values(draft: Event) -> Mapping[str, object]:
        assert isinstance(draft, Draft)
        return song(draft.values())

    then = Then(job=FROM_A_LINE, name="generate", values=values)
    return _told_of_both(jobs.run("inspire", line, session, then), places)


def followed(jobs: Jobs, ticket: Ticket, session: str) -> Iterator[Outputs]:
    """The outputs of a job that runs already, as `outputs` gives them."""
    events = jobs.follow(ticket, session)
    return _told_of_both(events) if ticket.asked == FROM_A_LINE else _told(ticket.asked, events, on_page=True)


def _told_of_both(events: Generator[Event, None, None], places: Mapping[str, Place] = NOWHERE) -> Iterator[Outputs]:
    def of_draft() -> Generator[Event, None, None]:
        for event in events:
            yield event
            if isinstance(event, Draft):
                return

    draft: object = None
    with closing(events):
        for draft, line in _told("inspire", of_draft(), places, on_page=True):
            yield *SONG.empty, gr.skip() if draft is None else draft, line
        if draft is None:  # cancelled
            return
        for *song, line in _told("generate", events, places, on_page=True):
            yield *song, gr.skip(), line


def _told(
    name: str, stream: Generator[Event, None, None], places: Mapping[str, Place] = NOWHERE, *, on_page: bool
) -> Iterator[Outputs]:
    kind = RESULT_KINDS[name]
    held, line, events = kind.empty, QUEUED, []
    yield *held, line
    try:
        with closing(stream) as coming:
            for event in coming:
                held, line = kind.grow(held, event), kind.line(event, line)
                if isinstance(event, Preview):
                    yield *held, gr.update(value=line, preview=working.heard(event))
                    continue
                events.append(event)
                if on_page and kind is SONG and isinstance(event, Progress):
                    yield *held, gr.update(value=line, working=working.at(name, event))
                else:
                    yield *held, line
    except Cancelled:
        yield *held, kind.cancelled
    except Exception as failure:
        yield *held, failure_update(name, failure, places)
        raise refusal(failure) from failure
    else:
        yield from kind.results(events)


def failure_update(name: str, failure: Exception, places: Mapping[str, Place]) -> object:
    """What the line of progress becomes when a job has failed.

    Faults stand at their fields, by their labels; to weights that are missing the page knows a way.
    """
    if isinstance(failure, MissingWeights):
        line = failure_line(failure)
        return gr.update(value=line, missing={"name": failure.checkpoint, "line": line})
    if not isinstance(failure, RequestError):
        return failure_line(failure)
    return gr.update(value=faults.line(name, failure, places), faults=faults.told(name, failure.faults, places))


def failure_line(failure: Exception) -> str:
    """Why a job failed, in one line; the faults of a request by the names of its parameters."""
    return str(failure) if isinstance(failure, StudioError) else FAILED


def refusal(failure: Exception) -> gr.Error:
    """The error that a client raises and the page pops up, where it is not told at a field.

    What a user typed into it is no markup.
    """
    if not isinstance(failure, StudioError):
        log.error("a job failed", exc_info=failure)
    return gr.Error(
        html.escape(failure_line(failure), quote=False),
        duration=TOAST_S,
        visible=not isinstance(failure, RequestError),
        print_exception=False,
    )
