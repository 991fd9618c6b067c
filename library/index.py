"""The index of a library: what its sidecars tell, in a database that is searched in milliseconds.

The sidecars stay the truth. Before every look the index is compared with what lies in the folder, in one pass over
names, times and sizes, and only what changed is read again; one that is missing, broken or of another schema is made
anew. While somebody types into the search the pass is left out for seconds, as long as the folder says that no name in
it changed. Each look opens the database for itself, so that any number of threads and processes may share the folder.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import threading
import time
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

NAME = "index.sqlite"
FILES = (NAME, f"{NAME}-journal")
"""Everything that the index writes into the library's folder."""

ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
"""The form of a track's id, which names its files."""

PAGE = 60
"""Songs, or sets of takes, that a search gives unless it is asked for more."""

_SCHEMA = """
CREATE TABLE tracks (
  number INTEGER PRIMARY KEY, id TEXT UNIQUE, stamp TEXT, created REAL, mode TEXT, checkpoint TEXT, favourite INTEGER,
  key TEXT, sha256 TEXT, owner TEXT, bytes INTEGER, batch TEXT
);
CREATE TABLE facts (id TEXT PRIMARY KEY, facts TEXT);
CREATE TABLE peaks (id TEXT PRIMARY KEY, peaks TEXT);
CREATE TABLE words (number INTEGER PRIMARY KEY, id TEXT UNIQUE, words BLOB);
CREATE TABLE sources (id TEXT, sha256 TEXT);
CREATE INDEX newest ON tracks (created DESC, id DESC);
CREATE INDEX keys ON tracks (key);
CREATE INDEX sounds ON tracks (sha256);
CREATE INDEX owners ON tracks (owner, created DESC, id DESC);
CREATE INDEX sourced ON sources (id);
"""
_TABLES = ("tracks", "facts", "peaks", "words", "sources")
_PATIENCE_S = 30.0
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

_TRUST_S = 10.0
"""How long a search goes without a pass over a folder in which no name has changed."""

_YOUNG_NS = 50_000_000
"""A sidecar that was written so shortly before it was read may be written again in the same tick of the disk's clock:
it is read once more the next time."""

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
Told = TypeVar("Told")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the index keeps of one track; `created` is in seconds since 1970, `sources` are hashes of its recordings.

    `owner` says whose it is, empty where nobody asked. `facts` is all that its sidecar tells, and `words` the texts in
    which it is searched.
    """

    created: float
    mode: str
    checkpoint: str
    favourite: bool
    key: str
    sha256: str
    owner: str
    sources: tuple[str, ...]
    words: Sequence[str]
    bytes: int
    facts: str


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is looked for; what is empty asks for nothing. `owner` is whose songs may be found, None those of all.

    `limit` counts songs, those that are takes of one request together.
    """

    words: str = ""
    mode: str = ""
    checkpoint: str = ""
    favourite: bool = False
    owner: str | None = None
    limit: int = PAGE


@dataclass(frozen=True, kw_only=True)
class Matches(Generic[Told]):
    """What a query found: sets of takes that stand together, the newest first, by their ids.

    `total` counts all tracks that match, `sets` all sets, of which `groups` are the first. `sources` is the track that
    another was made from, by id; `tracks` tells of them all. `checkpoints` are those of all tracks that may be found.
    """

    groups: Sequence[Sequence[str]] = ()
    total: int = 0
    sets: int = 0
    sources: Mapping[str, str] = field(default_factory=dict)
    tracks: Mapping[str, Told] = field(default_factory=dict)
    checkpoints: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Weight:
    """What a track takes of the disk, without what was made of it."""

    id: str
    favourite: bool
    sha256: str
    bytes: int


class Index(Generic[Told]):
    """The index of the tracks in a folder; `read` gives the entry of a sidecar, None where it cannot be used.

    `restored` makes a track of an entry's facts and its peaks, which are empty where none were kept; `fields` names
    what the facts hold: an index of other ones is made anew. A folder that does not exist is empty, and is not made.
    """

    def __init__(
        self,
        root: Path,
        read: Callable[[Path], Entry | None],
        restored: Callable[[str, str], Told],
        fields: Iterable[str],
    ) -> None:
        self._root = root
        self._read = read
        self._restored = restored
        self._version = zlib.crc32(" ".join((_SCHEMA, *fields)).encode()) & 0x7FFFFFFF
        self._lock = threading.Lock()
        self._passed: tuple[int, float] = (0, 0.0)

    def newest(self, limit: int | None = None, owner: str | None = None) -> list[Told]:
        """The tracks, the newest first; those of one owner alone, if one is named."""
        where, values = _conditions(Query(owner=owner))
        asked = f"JOIN tracks USING (id) WHERE {where} ORDER BY created DESC, id DESC LIMIT ?"
        return self._told(asked, *values, -1 if limit is None else limit)

    def made_by(self, key: str) -> list[Told]:
        """The tracks with that cache key, the newest first."""
        return self._told("JOIN tracks USING (id) WHERE key = ? ORDER BY created DESC, id DESC", key)

    def sounding(self, sha256: str) -> list[Told]:
        """The tracks whose audio has that hash, the newest first."""
        return self._told("JOIN tracks USING (id) WHERE sha256 = ? ORDER BY created DESC, id DESC", sha256)

    def search(self, query: Query) -> Matches[Told]:
        """What the query asks for."""
        return self._look(lambda db: _matches(db, query, self._restored), Matches(), hasty=True)

    def weights(self, owner: str | None = None) -> list[Weight]:
        """What each track takes of the disk, the oldest first; those of one owner alone, if one is named."""
        where, values = _conditions(Query(owner=owner))
        asked = f"SELECT id, favourite, sha256, bytes FROM tracks WHERE {where} ORDER BY created, id"

        def weigh(db: sqlite3.Connection) -> list[Weight]:
            rows = db.execute(asked, values)
            return [Weight(id=name, favourite=bool(star), sha256=sha, bytes=size) for name, star, sha, size in rows]

        return self._look(weigh, [])

    def keep_peaks(self, identity: str, peaks: str) -> None:
        """Remember the waveform of a track whose sidecar does not tell it."""

        def keep(db: sqlite3.Connection) -> None:
            with db:
                db.execute("REPLACE INTO peaks VALUES (?, ?)", (identity, peaks))

        self._look(keep, None)

    def _told(self, where: str, *values: object) -> list[Told]:
        return self._look(lambda db: list(_told(db, self._restored, where, *values)), [])

    def _look(self, ask: Callable[[sqlite3.Connection], Answer], nothing: Answer, *, hasty: bool = False) -> Answer:
        """What is found in the index once it is up to date; where the disk keeps none, in one that is made for now."""
        if not self._root.is_dir():
            return nothing
        with self._lock:
            for attempt in range(2):
                try:
                    return self._found(self._root / NAME, ask, hasty=hasty)
                except (sqlite3.DatabaseError, ValueError, TypeError, KeyError) as error:
                    busy = getattr(error, "sqlite_errorcode", None) in _BUSY
                    log.warning("the index of %s is %s: %s", self._root, "busy" if busy else "made anew", error)
                    if busy or attempt or not self._removed():
                        break
            return self._found(":memory:", ask)

    def _found(self, place: Path | str, ask: Callable[[sqlite3.Connection], Answer], *, hasty: bool = False) -> Answer:
        with closing(sqlite3.connect(place, timeout=_PATIENCE_S)) as db:
            # A journal that stays leaves the names in the folder as they are; what a crash breaks is made anew.
            db.execute("PRAGMA page_size = 16384")
            db.execute("PRAGMA mmap_size = 1000000000")
            db.execute("PRAGMA journal_mode = TRUNCATE")
            db.execute("PRAGMA synchronous = OFF")
            if db.execute("PRAGMA user_version").fetchone() != (self._version,):
                self._begin(db)
                hasty = False
            changed_ns, now = self._root.stat().st_mtime_ns, time.monotonic()
            if not (hasty and changed_ns == self._passed[0] and now - self._passed[1] < _TRUST_S):
                self._bring_up_to_date(db)
                # A name that changes in the same tick of the disk's clock leaves the folder's time as it is.
                self._passed = (changed_ns, now) if time.time_ns() - changed_ns > _YOUNG_NS else (0, 0.0)
            return ask(db)

    def _begin(self, db: sqlite3.Connection) -> None:
        names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        drops = "".join(f'DROP TABLE "{name}";' for (name,) in names)
        db.executescript(f"BEGIN IMMEDIATE; {drops} {_SCHEMA} PRAGMA user_version = {self._version}; COMMIT;")

    def _removed(self) -> bool:
        with suppress(OSError):
            for name in FILES:
                (self._root / name).unlink(missing_ok=True)
            return True
        return False

    def _bring_up_to_date(self, db: sqlite3.Connection) -> None:
        known: dict[str, str] = dict(db.execute("SELECT id, stamp FROM tracks"))
        there = self._there()
        stale = [identity for identity, (stamp, _) in there.items() if known.get(identity) != stamp]
        gone = list(known.keys() - there.keys())
        if not gone and not stale:
            return
        now = time.time_ns()
        read = [(identity, self._read(self._root / f"{identity}.json")) for identity in stale]
        with db:
            for table in _TABLES:
                lost = gone if table == "peaks" else [*gone, *stale]  # another sidecar is no other sound
                db.executemany(f"DELETE FROM {table} WHERE id = ?", [(identity,) for identity in lost])
            for identity, entry in read:
                stamp, written_ns = there[identity]
                _put(db, identity, "" if now - written_ns < _YOUNG_NS else stamp, entry)

    def _there(self) -> dict[str, tuple[str, int]]:
        """(stamp, time of writing) of every sidecar in the folder: another stamp for other content."""
        heard: set[str] = set()
        sidecars: dict[str, os.stat_result] = {}
        with os.scandir(self._root) as entries:
            for entry in entries:
                name = entry.name
                if name.endswith(".wav"):
                    heard.add(name[:-4])
                elif name.endswith(".json") and ID.fullmatch(name[:-5]):
                    try:
                        sidecars[name[:-5]] = entry.stat()
                    except FileNotFoundError:  # it went meanwhile
                        continue
        return {
            stem: (f"{each.st_mtime_ns} {each.st_size} {each.st_ino} {stem in heard}", each.st_mtime_ns)
            for stem, each in sidecars.items()
        }


def folded(text: str) -> str:
    """The text as it is compared: without case and accents."""
    plain = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(plain).casefold()


def _put(db: sqlite3.Connection, identity: str, stamp: str, entry: Entry | None) -> None:
    """Keep an entry; of a sidecar that cannot be used only that it was read."""
    if entry is None:
        db.execute("REPLACE INTO tracks (id, stamp) VALUES (?, ?)", (identity, stamp))
        return
    told = (entry.created, entry.mode, entry.checkpoint, entry.favourite, entry.key, entry.sha256)
    # What one owner asked for twice is one set of takes; another one's stands apart.
    batch = f"{entry.owner} {entry.key}".strip() if entry.key else identity
    row = (identity, stamp, *told, entry.owner, entry.bytes, batch)
    number = db.execute(f"REPLACE INTO tracks VALUES (NULL, {', '.join('?' * len(row))})", row).lastrowid
    db.execute("REPLACE INTO words VALUES (?, ?, ?)", (number, identity, folded("\n".join(entry.words)).encode()))
    db.execute("REPLACE INTO facts VALUES (?, ?)", (identity, entry.facts))
    db.executemany("INSERT INTO sources VALUES (?, ?)", [(identity, sha256) for sha256 in entry.sources])


def _told(db: sqlite3.Connection, restored: Callable[[str, str], Told], where: str, *values: object) -> Iterator[Told]:
    asked = f"SELECT facts, coalesce(peaks, '') FROM facts LEFT JOIN peaks USING (id) {where}"
    yield from (restored(facts, peaks) for facts, peaks in db.execute(asked, values))


def _conditions(query: Query) -> tuple[str, list[object]]:
    """The part of a statement after WHERE, and its values."""
    parts: list[str] = ["created IS NOT NULL"]
    values: list[object] = []
    if query.owner is not None:
        parts, values = [*parts, "owner = ?"], [*values, query.owner]
    for column in ("mode", "checkpoint"):
        if wanted := getattr(query, column):
            parts, values = [*parts, f"{column} = ?"], [*values, wanted]
    if query.favourite:
        parts.append("favourite")
    for word in folded(query.words).split():
        parts.append("instr(words, ?)")
        values.append(word.encode())
    return " AND ".join(parts), values


def _matches(db: sqlite3.Connection, query: Query, restored: Callable[[str, str], Told]) -> Matches[Told]:
    where, values = _conditions(query)
    tables = "words JOIN tracks USING (number)" if query.words else "tracks"
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute(f"CREATE TEMP TABLE found AS SELECT tracks.id, batch, created FROM {tables} WHERE {where}", values)
    total, batches = db.execute("SELECT count(*), count(DISTINCT batch) FROM found").fetchone()
    asked = "SELECT batch FROM found GROUP BY batch ORDER BY max(created) DESC, max(id) DESC LIMIT ?"
    sets: dict[str, list[str]] = {batch: [] for (batch,) in db.execute(asked, (query.limit,))}
    marks = ", ".join("?" * len(sets))
    for identity, batch in db.execute(f"SELECT id, batch FROM found WHERE batch IN ({marks})", tuple(sets)):
        sets[batch].append(identity)
    groups = list(sets.values())
    shown = [identity for group in groups for identity in group]
    sources = _sources(db, shown, query.owner)
    where, values = _conditions(Query(owner=query.owner))
    names = db.execute(f"SELECT DISTINCT checkpoint FROM tracks WHERE {where} ORDER BY checkpoint", values)
    told = ((each, list(_told(db, restored, "WHERE id = ?", each))) for each in {*shown, *sources.values()})
    return Matches(
        groups=groups,
        total=total,
        sets=batches,
        sources=sources,
        tracks={each: tracks[0] for each, tracks in told if tracks},
        checkpoints=[name for (name,) in names if name],
    )


def _sources(db: sqlite3.Connection, shown: Sequence[str], owner: str | None) -> dict[str, str]:
    """The track that each of these was made from, as far as there is one that may be found; of several the newest."""
    asked = (
        "SELECT sources.id, tracks.id FROM sources JOIN tracks USING (sha256)"
        " WHERE sources.id = ? AND tracks.id != sources.id AND owner = coalesce(?, owner) ORDER BY created"
    )
    return dict(pair for identity in shown for pair in db.execute(asked, (identity, owner)))
