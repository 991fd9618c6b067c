"""What a sound file says about its song: words, numbers and a picture, in the form that each container has for them."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from core.tables import PITCH_CLASSES, PRODUCT, SCALES
from library.cover import SIZE

if TYPE_CHECKING:
    from mutagen.id3 import ID3

_PNG = "image/png"
_UNTOLD = "XXX"
"""ID3's word for a language that is not told."""


@dataclass(frozen=True, kw_only=True)
class Tags:
    """The facts of a song, an empty one left out; `key` is a name such as "A minor", `date` a year or an ISO date."""

    title: str = ""
    prompt: str = ""
    lyrics: str = ""
    seed: int | None = None
    tempo_bpm: float | None = None
    key: str = ""
    checkpoint: str = ""
    licence: str = ""
    date: str = ""

    def texts(self) -> dict[str, str]:
        """Every fact that is there as clean text, by its name among Vorbis comments."""
        facts = {
            "TITLE": " ".join(self.title.split()),
            "DESCRIPTION": self.prompt,
            "LYRICS": self.lyrics,
            "SEED": "" if self.seed is None else str(self.seed),
            "BPM": "" if self.tempo_bpm is None else str(round(self.tempo_bpm)),
            "INITIALKEY": _short_key(self.key),
            "CHECKPOINT": self.checkpoint,
            "LICENSE": self.licence,
            "DATE": self.date,
            "ENCODER": PRODUCT,
        }
        clean = {name: _clean(text) for name, text in facts.items()}
        return {name: text for name, text in clean.items() if text}


def add_tags(file: BinaryIO, tags: Tags, cover: bytes | None = None) -> None:
    """Add the facts, and a PNG as the front cover, to a sound file that is open for reading and writing.

    Files of wav and mp3 get ID3v2.4, those of flac, ogg and opus Vorbis comments. What neither has a field for is kept
    under its name.
    """
    import mutagen
    from mutagen.id3 import ID3

    file.seek(0)
    opened: Any = mutagen.File(file)  # its own types call the tags None
    if opened.tags is None:
        opened.add_tags()
    if isinstance(opened.tags, ID3):
        _add_id3(opened.tags, tags.texts(), cover)
    else:
        _add_comments(opened, tags.texts(), cover)
    file.seek(0)
    opened.save(file)


def _add_id3(frames: ID3, texts: Mapping[str, str], cover: bytes | None) -> None:
    from mutagen import id3

    utf8 = id3.Encoding.UTF8
    named = {"TITLE": id3.TIT2, "BPM": id3.TBPM, "INITIALKEY": id3.TKEY, "DATE": id3.TDRC, "ENCODER": id3.TSSE}
    for name, text in texts.items():
        if name in named:
            frames.add(named[name](encoding=utf8, text=[text]))
        elif name == "DESCRIPTION":
            frames.add(id3.COMM(encoding=utf8, lang=_UNTOLD, desc="", text=[text]))
        elif name == "LYRICS":
            frames.add(id3.USLT(encoding=utf8, lang=_UNTOLD, desc="", text=text))
        else:
            frames.add(id3.TXXX(encoding=utf8, desc=name, text=[text]))
    if cover:
        front = id3.PictureType.COVER_FRONT
        frames.add(id3.APIC(encoding=id3.Encoding.LATIN1, mime=_PNG, type=front, desc="", data=cover))


def _add_comments(opened: Any, texts: Mapping[str, str], cover: bytes | None) -> None:
    from mutagen.flac import FLAC, Picture
    from mutagen.id3 import PictureType

    comments: MutableMapping[str, list[str]] = opened.tags
    for name, text in texts.items():
        comments[name] = [text]
    if not cover:
        return
    picture = Picture()
    picture.type, picture.mime, picture.data = PictureType.COVER_FRONT, _PNG, cover
    picture.width = picture.height = SIZE
    picture.depth = 8
    if isinstance(opened, FLAC):
        opened.add_picture(picture)
    else:
        comments["METADATA_BLOCK_PICTURE"] = [base64.b64encode(picture.write()).decode("ascii")]


def _short_key(name: str) -> str:
    """A key as ID3 writes it: "A minor" is Am, "B♭ major" is Bb."""
    note, _, scale = name.strip().partition(" ")
    if note not in PITCH_CLASSES or scale not in SCALES:
        return ""
    return note.replace("♯", "#").replace("♭", "b") + ("m" if scale == "minor" else "")


def _clean(text: str) -> str:
    """The text without what ends a field early or cannot be written: control characters and halves of characters."""
    lines = "\n".join(text.splitlines())
    kept = (each for each in lines if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cs"))
    return "".join(kept).strip()
