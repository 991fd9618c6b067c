"""What the page asks of the studio beside jobs: tracks, settings, what is installed, and lines of text."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

import tooltips
from backend import Studio
from checkpoints import find, table
from checkpoints import writers as lyrics_writers
from core.actions import ACTIONS as REQUESTS_OF
from core.actions import ActionName
from core.errors import RequestError, StudioError
from core.knobs import AUTO, Value, parse
from core.lyrics import LyricsRequest
from core.params import MODES, SONG_MODES, UNHEARD
from core.recipes import Recipe
from core.tables import Mode
from library.records import Track
from lyrics.line_counts import compared
from post_process import ACTIONS
from ui import idle, tracks
from ui.faults import in_words
from ui.sessions import Jobs
from ui.streams import SONG, Outputs, outputs
from ui.visitors import Visitors
from ui.widgets import AnyRecipe

HISTORY_LENGTH = 40

GONE = "The song is no longer in the library."
RECORDED = "A recording is not made, and has no take beside it."


class Handlers:
    """The handlers of one studio; `hosted` keeps the songs of different visitors apart.

    `of` gives them as one visitor sees them, with a `library` of their own. As they are made they see every song.
    """

    def __init__(self, studio: Studio, *, hosted: bool) -> None:
        self.studio = studio
        self.library = studio.library
        self.visitors = Visitors(studio.library, hosted=hosted)
        self.jobs = Jobs(studio, hosted=hosted, visitors=self.visitors)
        self.hosted = hosted

    def of(self, request: gr.Request | None) -> Handlers:
        """The handlers as whoever sends that request sees them."""
        seen = copy.copy(self)
        seen.library = self.visitors.library(self.session(request))
        return seen

    def session(self, request: gr.Request | None, browser: str = "") -> str:
        """The session that a request is of, and from now on of that browser."""
        return self.visitors.session(request, str(browser or ""))

    def again(self, metadata: Mapping[str, object] | None, request: gr.Request) -> Iterator[Outputs]:
        """The outputs of the shown song made once more with a new seed, everything else equal; it joins the takes."""
        seen = self.of(request)
        track = seen.find(metadata)
        if track is None or track.mode == "recording":
            yield *SONG.empty, GONE if track is None else RECORDED
            return
        former = seen.takes_beside(track, metadata)
        values = self._asked(track) | {"seed": None}
        for made in outputs(self.jobs, track.mode, values, self.session(request)):
            yield tuple(_joined(each, former) for each in made)

    def takes_beside(self, track: Track, metadata: Mapping[str, object] | None) -> list[str]:
        """The ids of the takes among which a track stands: those that are shown, if it is one of them, else its own."""
        shown = metadata.get("takes") if metadata else None
        ids = [str(each) for each in shown] if isinstance(shown, list) else []
        return [each for each in ids if self.by_id(each)] if track.id in ids else [track.id]

    def find(self, metadata: Mapping[str, object] | None) -> Track | None:
        """The track that these metadata are of, if it is still in the library."""
        return self.by_id(str(metadata["id"])) if metadata and "id" in metadata else None

    def by_id(self, identity: str) -> Track | None:
        """The track of that id, or None."""
        try:
            return self.library.get(str(identity))
        except (StudioError, KeyError):
            return None

    def is_there(self, identity: str) -> bool:
        """Whether there is a track of that id, whoever's it is."""
        try:
            return bool(self.studio.library.get(identity))
        except RequestError:
            return False

    def opened(self, identity: str, request: gr.Request | None) -> Track | None:
        """The track that a link opens; None where it is gone. Whoever sends the request may look at it from now on."""
        return self.visitors.lend(identity, self.session(request))

    def history(self) -> list[tuple[str, str]]:
        """(line, id) of the newest songs."""
        return [(tracks.entry(track), track.id) for track in self.library.newest(HISTORY_LENGTH)]

    def _asked(self, track: Track) -> dict[str, Value]:
        """The track's knobs by name; those that mean nothing to its checkpoint rest at their default."""
        muted, asked = self.recipe(track.checkpoint).muted, track.asked()
        return {knob.name: knob.default if knob.name in muted else asked[knob.name] for knob in track.knobs}

    def settings(self, track: Track) -> dict[str, Value]:
        """The track's knobs by name as its form may show them: a recording that is gone is left out.

        So is what was heard of the song before it was done: that is not the song's.
        """
        files = {knob.name for knob in track.knobs if knob.kind == "audio"}
        asked = {name: value for name, value in self._asked(track).items() if name not in UNHEARD}
        return {name: self.servable(value) if name in files else value for name, value in asked.items()}

    def servable(self, value: Value) -> str | None:
        """The file's path if the page may show it: a song that it shows, or what was uploaded to it.

        Only on a page of one's own also what else lies in the library's folder: stems, say.
        """
        if not value or "\0" in str(value) or not Path(str(value)).is_file():
            return None
        path = Path(str(value)).resolve()
        if path.is_relative_to(Path(get_upload_folder()).resolve()):
            return str(path)
        if not path.is_relative_to(self.library.root.resolve()):
            return None
        track = self.by_id(path.stem) if self.hosted else None
        return str(path) if not self.hosted or (track and track.path.resolve() == path) else None

    def source_of(self, track: Track) -> Path | None:
        """The recording that a track was made of, if it is still there: in its place, or as a track of the library."""
        servable = self.servable(track.asked().get("src_audio"))
        if servable is not None:
            return Path(servable)
        digest = track.hashes.get("src_audio")
        found = self.library.find_audio(digest) if digest else None
        return found.path if found else None

    def cost(self, mode: Mode, values: Mapping[str, object]) -> str:
        """The text of a run button: what it does and how long that takes here."""
        title, _ = tooltips.title(mode)
        words = {"prompt": title} if mode in SONG_MODES else {"brief": title}  # without any the request is refused
        try:
            seconds = self.studio.estimate_s(parse(MODES[mode], {**words, **idle.rested(self.studio, mode, values)}))
        except StudioError:
            return title
        return f"{title} · about {tracks.duration(seconds)} on this machine"

    def recipe(self, checkpoint: str | None) -> Recipe:
        """How a checkpoint wants to be run; of the studio's own for None and for a name that is not known."""
        return idle.recipe(self.studio, checkpoint)

    def recipe_of(self, mode: Mode, weights: str | None) -> AnyRecipe:
        """What says which knobs of a mode mean nothing: the recipe of its checkpoint or, for lyrics, of the writer."""
        return self.recipe(weights) if mode in SONG_MODES else idle.writer_recipe(self.studio, weights)

    def weights_of(self, mode: Mode, named: str | None) -> str:
        """The checkpoint or the writer that a mode's form stands for: the one named, or what the studio takes now."""
        if named not in (None, "", AUTO):
            return str(named)
        return self.studio.status().checkpoint if mode in SONG_MODES else self.studio.writer().name

    def idle(self, mode: Mode, values: Mapping[str, object]) -> dict[str, str]:
        """The knobs of a mode that mean nothing beside these values, with the reason in the words of its form."""
        return {name: in_words(mode, reason) for name, reason in idle.idle(self.studio, mode, values).items()}

    def hints(self, mode: Mode, values: Mapping[str, object]) -> dict[str, str]:
        """What stands in place of the sentences of knobs that mean less than it seems beside these values."""
        return idle.hints(self.studio, mode, values)

    def action_label(self, name: ActionName) -> str:
        """The text of an action's button: what it does, and what is to be brought first."""
        title, _ = tooltips.title(name)
        weights = ACTIONS[REQUESTS_OF[name]].weights(None)
        if weights is None or find.locate(table.row(weights)):
            return title
        return f"{title} · {table.row(weights).size} to download"

    def serves(self, name: ActionName, track: Track) -> bool:
        """Whether an action can do anything for a track."""
        return ACTIONS[REQUESTS_OF[name]].refusal(track) is None

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


def _joined(output: object, former: Sequence[str]) -> object:
    """An output of a song's job with the takes before its own, if it holds a song's metadata."""
    if not isinstance(output, dict) or "takes" not in output:
        return output
    return {**output, "takes": list(dict.fromkeys([*former, *output["takes"]]))}
