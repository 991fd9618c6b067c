"""The Library: every song of this studio, found, heard, named, put aside and brought in; drawn by library.js."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder

import tooltips
from core.errors import Fault, RequestError, StudioError
from core.params import SONG_MODES
from library import storage
from library.index import PAGE, Query
from library.recordings import bring_in
from library.records import Track
from library.storage import LARGEST_GB
from library.tracks import Library
from ui import tracks
from ui.endpoints import AT_ONCE, QUIET
from ui.handlers import Handlers
from ui.view import View

if TYPE_CHECKING:
    from ui.events import Page

NAME = "library"
MOST = 20_000
"""No page shows more songs at once."""

DRAWN_AT_ONCE = 6
"""So many older songs are read for their waveforms before the page is told of them."""

READING: dict[str, Any] = {**QUIET, "concurrency_limit": 1, "concurrency_id": "recordings"}
"""As for recordings that are dropped into a form: one at a time is read."""

Told = dict[str, Any]
"""What library.js draws, as values of JSON."""

_TEMPLATE = """
<section class="library" aria-label="Library">
  <div class="tools">
    <input type="search" class="words" aria-label="Search" placeholder="Title, prompt or words" autocomplete="off">
    <select class="modes" aria-label="Made by"><option value="">All modes</option>{modes}</select>
    <select class="weights" aria-label="Checkpoint"></select>
    <button type="button" class="starred" aria-pressed="false">Favourites</button>
    <button type="button" class="bring">Import</button>
    <input type="file" class="files" accept="audio/*,.wav,.flac,.mp3,.ogg,.m4a" multiple hidden
      aria-label="Recordings to import">
  </div>
  <div class="told">
    <p role="status" aria-live="polite"></p>
    <button type="button" class="undo" hidden>Undo</button>
  </div>
  <div class="rows" role="grid" aria-label="Songs" title="{keys}"></div>
  <button type="button" class="more" hidden>More</button>
  <div class="storage">
    <p class="used"></p>
    <label class="bound" hidden>
      At most <input type="number" min="0" step="any" aria-label="At most, in GB"> GB
    </label>
    <button type="button" class="prune" hidden></button>
    <button type="button" class="empty" hidden>Empty the trash</button>
  </div>
</section>
"""


def build(handlers: Handlers) -> View:
    """The view, inside the open layout."""
    title, sentence = tooltips.title(NAME)
    with gr.Column(visible=False, elem_id="library", elem_classes=["mode"], min_width=0) as column:
        gr.HTML(f"<h2>{title}</h2><p>{sentence}</p>", elem_classes=["heading"])
        shelf = gr.HTML(
            {},
            html_template=_template(),
            js_on_load="studio.library(element, props, trigger, watch, upload)",
            drawn={},
            replay={},
        )
    return View(column=column, wire=lambda page: _wire(page, shelf, handlers))


def _template() -> str:
    modes = "".join(f'<option value="{mode}">{tooltips.title(mode)[0]}</option>' for mode in (*SONG_MODES, "recording"))
    return _TEMPLATE.format(modes=modes, keys=tooltips.LIBRARY_KEYS)


def _wire(page: Page, shelf: gr.HTML, handlers: Handlers) -> None:
    """Put the events of the view in place; each asks for what library.js says, and is told the whole view anew."""

    def asks(what: str) -> dict[str, Any]:
        return {"js": f"(_, current) => [studio.{what}(), current]", "inputs": inputs}

    inputs = outputs = [shelf, page.history]

    def answer(asked: object, current: str | None, request: gr.Request) -> tuple[object, object]:
        seen = page.of(request)
        return Shelf(seen.handlers).answer(asked), seen.history_update(current)

    def find(asked: object, current: str | None, request: gr.Request) -> object:
        return Shelf(handlers.of(request)).listing(_mapping(asked))

    def draw(ids: object, request: gr.Request) -> object:
        return gr.update(drawn=Shelf(handlers.of(request)).drawn(ids))

    def doubt(one: object, request: gr.Request) -> object:
        return gr.update(replay=Shelf(handlers.of(request)).replay(one))

    shelf.tick(find, **asks("sought"), outputs=shelf, trigger_mode="always_last", **AT_ONCE)
    shelf.apply(answer, **asks("acted"), outputs=outputs, trigger_mode="multiple", **AT_ONCE)
    brought = shelf.upload(answer, **asks("brought"), outputs=outputs, **READING)
    brought.then(None, js="() => { studio.announce(); return [] }", **QUIET)
    shelf.expand(draw, js="() => [studio.undrawn()]", inputs=shelf, outputs=shelf, **READING)
    shelf.retry(doubt, js="() => [studio.doubted()]", inputs=shelf, outputs=shelf, **QUIET)


class Shelf:
    """What the view is told and what it may do, with the tracks of a visitor; what the page says is checked here."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._deeds: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
            "rename": self._rename,
            "favour": self._favour,
            "delete": self._delete,
            "restore": self._restore,
            "bound": self._bound,
            "prune": self._prune,
            "empty": self._empty,
            "import": self._import,
        }

    @property
    def _library(self) -> Library:
        return self._handlers.library

    def listing(self, asked: Mapping[str, Any], told: str = "") -> Told:
        """The songs that the view asks for, with what is to be said of the last deed."""
        limit = asked.get("limit")
        found = self._library.search(
            Query(
                words=str(asked.get("words") or "")[:200],
                mode=str(asked.get("mode") or ""),
                checkpoint=str(asked.get("checkpoint") or ""),
                favourite=asked.get("favourite") is True,
                limit=min(max(int(limit), 1), MOST) if isinstance(limit, int) else PAGE,
            )
        )
        aside = next(self._library.discarded(), ())
        return {
            "sets": [
                [_row(found.tracks[each], found.tracks.get(found.sources.get(each, ""))) for each in group]
                for group in found.groups
            ],
            "total": found.total,
            "hasMore": found.sets > len(found.groups),
            "checkpoints": list(found.checkpoints),
            "trash": {"ids": [track.id for track in aside], "names": [tracks.name_of(track) for track in aside[:1]]},
            "storage": self._storage() if asked.get("weigh") else None,
            "told": told,
        }

    def answer(self, asked: object) -> Told:
        """The view after a deed; one that is refused says why."""
        values = _mapping(asked)
        deed = self._deeds.get(str(values.get("deed")))
        try:
            told = "" if deed is None else deed(values)
        except StudioError as refused:
            told = _why(refused)
        return self.listing(_mapping(values.get("query")), told)

    def drawn(self, ids: object) -> dict[str, str]:
        """The waveforms of a few songs that were made before they were kept."""
        wanted = ids if isinstance(ids, list) else []
        found = (self._handlers.by_id(str(each)) for each in wanted[:DRAWN_AT_ONCE])
        return {track.id: self._library.peaks(track) for track in found if track}

    def replay(self, identity: object) -> dict[str, str]:
        """Whether a song would come out the same again, by its id."""
        track = self._handlers.by_id(str(identity))
        return {} if track is None else {track.id: f"{self._handlers.studio.replay(track, self._library)}."}

    def _rename(self, asked: Mapping[str, Any]) -> str:
        name = str(asked.get("name") or "").encode(errors="ignore").decode()
        return f"Called {tracks.name_of(self._library.rename(_id(asked), name))}."

    def _favour(self, asked: Mapping[str, Any]) -> str:
        self._library.favour(_id(asked), asked.get("on") is True)
        return ""

    def _delete(self, asked: Mapping[str, Any]) -> str:
        self._library.discard(_id(asked))
        return ""

    def _restore(self, asked: Mapping[str, Any]) -> str:
        ids = asked.get("ids")
        back = [self._library.restore(str(each)) for each in (ids if isinstance(ids, list) else [])]
        return f"{tracks.name_of(back[0]) if len(back) == 1 else _count(len(back))} came back." if back else ""

    def _bound(self, asked: Mapping[str, Any]) -> str:
        self._refuse_strangers()
        bound = asked.get("bound")
        is_number = isinstance(bound, int | float) and not isinstance(bound, bool)
        if bound is not None and not (is_number and 0 < bound <= LARGEST_GB):
            raise RequestError([Fault("bound", bound, f"must be above 0 and at most {LARGEST_GB:.0f} GB")])
        storage.set_bound_gb(self._library, bound)
        return ""

    def _prune(self, asked: Mapping[str, Any]) -> str:
        """Put aside what the user was shown; a song that came since is none of it."""
        self._refuse_strangers()
        bound = storage.bound_gb(self._library)
        would_go = () if bound is None else storage.surplus(self._library, bound).ids
        shown = asked.get("ids")
        agreed = [each for each in would_go if isinstance(shown, list) and each in shown]
        self._library.discard(*agreed)
        return "" if agreed else "Nothing had to go."

    def _empty(self, asked: Mapping[str, Any]) -> str:
        self._refuse_strangers()
        self._library.empty_trash()
        return "The trash is empty."

    def _import(self, asked: Mapping[str, Any]) -> str:
        """Bring in what was uploaded; files elsewhere on this machine are nobody's."""
        home, said = Path(get_upload_folder()).resolve(), []
        paths = asked.get("paths")
        for each in paths if isinstance(paths, list) else []:
            path = Path(str(each).replace("\0", "")).resolve()
            try:
                if not path.is_relative_to(home):
                    raise RequestError([Fault("recording", path.name, "must be an upload")])
                track = bring_in(self._library, path)
            except StudioError as refused:
                said.append(_why(refused))
            else:
                said.append(f"{tracks.name_of(track)} is in the library.")
        return " ".join(said)

    def _refuse_strangers(self) -> None:
        if self._handlers.hosted:
            raise StudioError("The storage of a shared page belongs to its host.")

    def _storage(self) -> Told:
        """What the songs take and what would go; the bound is nothing to strangers."""
        used, is_mine = storage.usage(self._library), not self._handlers.hosted
        told: Told = {"used": used.kept, "trash": used.trash, "bounded": is_mine, "bound": None, "over": []}
        if is_mine and (bound := storage.bound_gb(self._library)) is not None:
            surplus = storage.surplus(self._library, bound)
            told |= {"bound": bound, "over": list(surplus.ids), "freed": surplus.bytes}
        return told


def _row(track: Track, source: Track | None) -> Told:
    """What the list shows of a song."""
    return {
        "id": track.id,
        "name": tracks.name_of(track),
        "given": track.name,
        "mode": track.mode,
        "length": tracks.clock(track.seconds),
        "created": round(track.created.timestamp()),
        "seed": track.seed,
        "take": track.take,
        "checkpoint": track.checkpoint,
        "favourite": track.favourite,
        "peaks": track.peaks,
        "source": None if source is None else {"id": source.id, "name": tracks.name_of(source)},
    }


def _id(asked: Mapping[str, Any]) -> str:
    return str(asked.get("id"))


def _mapping(asked: object) -> Mapping[str, Any]:
    return asked if isinstance(asked, dict) else {}


def _why(refused: StudioError) -> str:
    """Why a deed was refused, without the name of a parameter that the page does not show."""
    if not isinstance(refused, RequestError):
        return str(refused)
    return " ".join(f"{fault.value}: {fault.rule}." for fault in refused.faults)


def _count(songs: int) -> str:
    return "1 song" if songs == 1 else f"{songs} songs"
