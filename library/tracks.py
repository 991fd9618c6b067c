"""Tracks on disk: for each song a wav file, its latents, and a sidecar that tells how it was made.

A track is there once its sidecar is there, and the sidecar is written last: a cut-off save leaves nothing to see.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import soundfile

from core.errors import Fault, RequestError, StudioError
from core.files import free_bytes, in_use, reason, sha256, write_whole
from core.knobs import Json
from core.tables import PRODUCT, SAMPLE_RATE
from library import audio, latents, peaks
from library.cache import code_version
from library.companions import Companions
from library.index import FILES, ID, Entry, Index, Matches, Query, Weight
from library.latents import Kept
from library.records import Record, Track, facts_of, from_sidecar, to_sidecar
from library.shares import KEY
from library.trash import Trash

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Waveform = NDArray[np.float32]
    Latents = NDArray[np.float16]

COMPANIONS = "companions"
"""The folder of what was made of tracks, beside them."""

NEW_PART = ".new.wav"
"""Suffix of the file that holds only what is new in a track."""

TRASH = "trash"
"""The folder of what was deleted and can be brought back, beside the tracks."""

BYTES_PER_S = 2 * 3 * SAMPLE_RATE + 8_000
"""What a second of a song takes on the disk: two channels of 24 bits, and its latents."""

UNDO_S = 3600.0
"""How long a deleted track can be brought back while the studio runs."""

SUFFIXES = (".json", ".wav", ".safetensors", NEW_PART)
"""Of the files of a track. The sidecar, without which there is none, comes first."""

NAME_CHARS = 200

log = logging.getLogger(__name__)


class Found(NamedTuple):
    """The tracks that a request made, one for each take, and those whose audio is not what was saved."""

    whole: tuple[Track, ...] = ()
    damaged: tuple[Track, ...] = ()


_Seen = tuple[int, int, int, str]
"""Size, time and place of a file as it was read, and the SHA-256 that was asked for."""


class Library:
    """The tracks in a folder, which is made when the first one is saved.

    `of` gives it as one owner sees it: with what they save, and nothing that is another one's.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._owner: str | None = None
        self._lent: Container[str] = ()
        self.companions = Companions(root / COMPANIONS)
        self.trash = Trash(root / TRASH, SUFFIXES)
        self._index = Index(root, self._entry, _indexed(root), (each.name for each in dataclasses.fields(Track)))
        self._unreadable: set[Path] = set()
        self._whole: dict[str, _Seen] = {}
        self._damaged: dict[str, _Seen] = {}

    def of(self, owner: str, lent: Container[str] = ()) -> Library:
        """The library as that owner sees it: their tracks, and to look at also those whose ids are lent to them."""
        seen = copy.copy(self)
        seen.companions = self.companions.of_owner(owner)
        seen._owner, seen._lent = owner, lent
        return seen

    def owns(self, track: Track) -> bool:
        """Whether the track may be changed here: it is not only lent."""
        return self._owner in (None, track.owner)

    def _shows(self, track: Track) -> bool:
        return self.owns(track) or track.id in self._lent

    @property
    def private(self) -> tuple[Path, ...]:
        """What no page may serve out of the folder: it tells of every track, of what was deleted, or opens songs."""
        return (*(self.root / name for name in (*FILES, KEY)), self.trash.root)

    def save(self, waveform: Waveform, latents: Latents | None, record: Record) -> Track:
        """The new track of a waveform `(2, S)` at 48 kHz and its latents `(T, C)`.

        Raises StudioError when the disk refuses; nothing of the song is left on it then.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with in_use(self.root):
                return self._save(waveform, latents, record)
        except OSError as error:
            log.error("a song could not be saved: %s", error)
            raise StudioError(
                f"The song could not be saved: {reason(error)}.", "Make room or choose another folder."
            ) from error

    def require_room(self, bytes: int) -> None:
        """Raise StudioError where the disk has no room for so much, before any work is done for it."""
        free = free_bytes(self.root)
        if bytes > free:
            needed = f"what is asked for takes {bytes / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free"
            raise StudioError(f"The disk has no room: {needed}.", "Make room, or ask for less.")

    def _save(self, waveform: Waveform, rows: Latents | None, record: Record) -> Track:
        created = datetime.now(UTC)
        identity = f"{created:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        path = self.root / f"{identity}.wav"
        try:
            audio.save_wav(path, waveform, _tags(record))
            digest = sha256(path)
            if rows is not None:
                latents.write(path.with_suffix(".safetensors"), rows, digest)
            track = Track(
                **{each.name: getattr(record, each.name) for each in dataclasses.fields(Record)},
                id=identity,
                path=path,
                created=created,
                seconds=waveform.shape[1] / SAMPLE_RATE,
                peak=float(np.abs(waveform).max(initial=0.0)),
                sha256=digest,
                code=code_version(),
                peaks=peaks.of(waveform),
                owner=self._owner or "",
            )
            write_whole(track.sidecar, to_sidecar(track).encode())
        except BaseException:
            _remove(path)
            raise
        return track

    def list(self) -> tuple[Track, ...]:
        """Every track, newest first. Sidecars that cannot be read are passed over with one line in the log."""
        return self.newest()

    def newest(self, limit: int | None = None) -> tuple[Track, ...]:
        """So many of the newest tracks, newest first."""
        return tuple(self._index.newest(limit, self._owner))

    def search(self, query: Query) -> Matches[Track]:
        """The tracks that a query asks for; takes of one request stand together, in their order."""
        found = self._index.search(dataclasses.replace(query, owner=self._owner))
        return dataclasses.replace(
            found, groups=[sorted(group, key=lambda each: found.tracks[each].take) for group in found.groups]
        )

    def get(self, identity: str, field: str = "id") -> Track:
        """The track of that id. Raises RequestError, with `field` as the name of the fault, when there is none."""
        # Ids come from outside: only what looks like one becomes part of a path.
        track = self._read(self.root / f"{identity}.json") if ID.fullmatch(identity) else None
        if track is None or not self._shows(track):
            raise _no_track(identity, field)
        return track

    def _own(self, identity: str) -> Track:
        """The track of that id, to be changed. Raises RequestError as `get` does, for one that is only lent too."""
        track = self.get(identity)
        if not self.owns(track):
            raise _no_track(identity)
        return track

    def find(self, key: str) -> tuple[Track, ...]:
        """The tracks made by the request with that cache key, in the order of their takes, the newest of each."""
        return self._newest_takes(filter(self.owns, self._index.made_by(key)))

    def whole(self, key: str) -> Found:
        """The same of the tracks whose audio is what was saved, and those that stand in their way because it is not."""
        made = [*filter(self.owns, self._index.made_by(key))]
        whole, damaged = self._newest_takes(filter(self.is_whole, made)), []
        if len(whole) < len({track.take for track in made}):
            damaged = [track for track in self._newest_takes(made) if track not in whole]
        return Found(whole, tuple(damaged))

    @staticmethod
    def _newest_takes(tracks: Iterable[Track]) -> tuple[Track, ...]:
        takes: dict[int, Track] = {}
        for track in tracks:
            takes.setdefault(track.take, track)
        return tuple(takes[take] for take in sorted(takes))

    def is_whole(self, track: Track) -> bool:
        """Whether the audio of a track is what was saved, to the byte; where it is not, the log says so once.

        A file that has neither another size nor another time than when it was read is not read again: a song of ten
        minutes takes a fifth of a second.
        """
        try:
            stat = track.path.stat()
            seen = (stat.st_size, stat.st_mtime_ns, stat.st_ino, track.sha256)
            if self._whole.get(track.id) == seen:
                return True
            if sha256(track.path) == track.sha256:
                self._whole[track.id] = seen
                return True
        except OSError as error:
            log.warning("audio of track %s cannot be read: %s", track.id, error)
            return False
        if self._damaged.get(track.id) != seen:
            self._damaged[track.id] = seen
            log.warning("audio of track %s is not what was saved: it is not served any more", track.id)
        return False

    def find_audio(self, sha256: str) -> Track | None:
        """The track whose wav file has that hash: how a song that comes back as a source is recognised."""
        return next(filter(self._shows, self._index.sounding(sha256)), None)

    def rename(self, identity: str, name: str) -> Track:
        """The track under another name; an empty one lets its title serve. Raises RequestError when there is none."""
        return self._changed(identity, {"name": " ".join(name.split())[:NAME_CHARS]})

    def favour(self, identity: str, favourite: bool) -> Track:
        """The track as a favourite, or as none any more. Raises RequestError when there is no such track."""
        return self._changed(identity, {"favourite": favourite})

    def peaks(self, track: Track) -> str:
        """The waveform of a track, drawn from its audio where nobody has looked yet; empty where that is unreadable."""
        if track.peaks:
            return track.peaks
        try:
            drawn = peaks.of_file(track.path)
        except (OSError, RuntimeError) as error:  # libsndfile's errors are RuntimeErrors
            log.warning("audio of track %s cannot be drawn: %s", track.id, error)
            return ""
        self._index.keep_peaks(track.id, drawn)
        return drawn

    def discard(self, *identities: str) -> None:
        """Put tracks aside at once, with their latents and what was made of them; `restore` brings them back.

        Raises RequestError when one is not there, and StudioError when the disk refuses.
        """
        tracks, now_ns = [self._own(identity) for identity in identities], time.time_ns()
        self.trash.empty(UNDO_S)
        sounds = Counter(each.sha256 for each in self._index.weights())
        with _refusing("The song could not be deleted"), in_use(self.root):
            for track in tracks:
                sounds[track.sha256] -= 1
                is_shared = sounds[track.sha256] > 0
                self.trash.take(track.path, None if is_shared else self.companions.folder(track.sha256), now_ns)

    def restore(self, identity: str) -> Track:
        """The track that was put aside, as it was. Raises RequestError when it is not there any more."""
        if not any(track.id == identity for batch in self.discarded() for track in batch):
            raise RequestError([Fault("id", identity, "must be the id of a track that was deleted lately")])
        with _refusing("The song could not be brought back"), in_use(self.root):
            self.trash.give_back(identity, self.root, self.companions.root)
        return self.get(identity)

    def discarded(self) -> Iterator[tuple[Track, ...]]:
        """The tracks that `restore` would bring back, in batches that were put aside at once, the last one first."""
        for batch in self.trash.batches():
            if mine := tuple(track for track in map(self._read, batch) if track and self.owns(track)):
                yield mine

    def weights(self) -> Sequence[Weight]:
        """What each track takes of the disk, the oldest first."""
        return self._index.weights(self._owner)

    def empty_trash(self, older_s: float = 0.0) -> None:
        """Remove for good what was put aside so many seconds ago."""
        self.trash.empty(older_s)

    def delete(self, identity: str) -> None:
        """Remove a track, and what was made of it unless another track has the same sound.

        Raises RequestError when there is no such track.
        """
        track = self._own(identity)
        _remove(track.path)
        if not self._index.sounding(track.sha256):
            self.companions.remove(track.sha256)

    def latents(self, track: Track, shape: tuple[int, int] | None = None) -> Kept:
        """The latents `(T, C)` that the track was decoded from; those of another song or shape are left aside."""
        kept = latents.read(track.latents_path, track.sha256, shape)
        if kept.latents is not None and not 0 < track.gain <= 1:
            kept = Kept(None, f"the song is said to be {track.gain:g} times what they decode to")
        if kept.fault:
            log.warning("latents of track %s left aside: %s", track.id, kept.fault)
        return kept

    def adopt(self, path: Path) -> Track | None:
        """The track of a song whose sidecar was never written, as a recording; None where its audio is not whole.

        How it was made is lost with the process that made it.
        """
        try:
            with soundfile.SoundFile(path) as file:
                title, whole = str(file.title or ""), file.seek(0, soundfile.SEEK_END) == file.frames > 0
            waveform = audio.load(path) if whole else None
        except (OSError, RuntimeError, RequestError):
            return None
        if waveform is None:
            return None
        path.with_suffix(".safetensors").unlink(missing_ok=True)
        track = Track(
            mode="recording",
            title=title or path.stem,
            checkpoint="",
            seed=0,
            notes=("it was found without what tells how it was made",),
            id=path.stem,
            path=path,
            created=datetime.fromtimestamp(path.stat().st_mtime, UTC),
            seconds=waveform.shape[1] / SAMPLE_RATE,
            peak=float(np.abs(waveform).max(initial=0.0)),
            sha256=sha256(path),
            code=code_version(),
            peaks=peaks.of(waveform),
        )
        write_whole(track.sidecar, to_sidecar(track).encode())
        return track

    def new_part(self, track: Track) -> Path:
        """A wav file of what is new in the track: the windows without the source around them, one after the other."""
        path = track.path.with_suffix(NEW_PART)
        if not path.is_file():
            edges = [[round(edge * SAMPLE_RATE) for edge in window] for window in track.windows_s]
            song = audio.load(track.path)
            parts = np.concatenate([song[:, start:end] for start, end in edges], axis=1)
            audio.save_wav(path, parts, _tags(track))
        return path

    def _changed(self, identity: str, facts: Mapping[str, Json]) -> Track:
        """The track with these facts in its sidecar; whatever else that tells stays, be it of a later version."""
        track = self._own(identity)
        told = json.loads(track.sidecar.read_text(encoding="utf-8")) | facts
        with _refusing("The song could not be changed"), in_use(self.root):
            write_whole(track.sidecar, json.dumps(told, ensure_ascii=False, indent=1, allow_nan=False).encode())
        return self.get(identity)

    def _entry(self, sidecar: Path) -> Entry | None:
        """What the index keeps of the track of a sidecar."""
        track = self._read(sidecar)
        return None if track is None else _entry_of(track)

    def _read(self, sidecar: Path) -> Track | None:
        try:
            return from_sidecar(sidecar)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            if sidecar not in self._unreadable:
                self._unreadable.add(sidecar)
                log.warning("sidecar %s passed over: %s", sidecar.name, " ".join(str(error).split())[:200])
            return None


def _no_track(identity: str, field: str = "id") -> RequestError:
    return RequestError([Fault(field, identity, "must be the id of a track in the library")])


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn what a disk refuses into an error of the studio."""
    try:
        yield
    except OSError as error:
        log.error("%s: %s", what, error)
        raise StudioError(f"{what}: {reason(error)}.", "Make room, or look who else uses the folder.") from error


def _tags(record: Record) -> Mapping[audio.Tag, str]:
    if record.mode == "recording":
        return {"title": record.title}
    made = f"{record.mode}, seed {record.seed}, {record.checkpoint}"
    return {"title": record.title, "comment": made, "software": PRODUCT}


def _entry_of(track: Track) -> Entry:
    words = (track.name, track.title, *(str(track.values.get(name) or "") for name in ("prompt", "lyrics")))
    files = (track.path.with_suffix(suffix) for suffix in SUFFIXES)
    return Entry(
        created=track.created.timestamp(),
        mode=track.mode,
        checkpoint=track.checkpoint,
        favourite=track.favourite,
        key=track.key,
        sha256=track.sha256,
        owner=track.owner,
        sources=tuple(track.hashes.values()),
        words=words,
        bytes=sum(file.stat().st_size for file in files if file.is_file()),
        facts=json.dumps(facts_of(track), separators=(",", ":"), ensure_ascii=False, allow_nan=False),
    )


def _indexed(root: Path) -> Callable[[str, str], Track]:
    """What makes a track of what the index kept of it: that was read from a sidecar, and is not checked again."""

    def track(facts: str, drawn: str) -> Track:
        told = json.loads(facts)
        told |= {
            "path": root / f"{told['id']}.wav",
            "created": datetime.fromisoformat(told["created"]),
            "notes": tuple(told["notes"]),
            "several_s": tuple(map(tuple, told.get("several_s", ()))),
            "peaks": told["peaks"] or drawn,
        }
        return Track(**told)

    return track


def _remove(path: Path) -> None:
    """Remove the files of the track with that wav."""
    for suffix in SUFFIXES:
        path.with_suffix(suffix).unlink(missing_ok=True)
