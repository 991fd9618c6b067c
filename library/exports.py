"""Songs to take away: cut to length, in a format that others play, with tags and a cover, under a readable name."""

from __future__ import annotations

import io
import math
import re
import unicodedata
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
import soundfile

from core.errors import Fault, RequestError
from core.files import write_whole
from core.tables import PRODUCT, SAMPLE_RATE
from library.audio import as_integers
from library.tags import Tags, add_tags

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Waveform = NDArray[np.float32]

SHORTEST_S = 0.1
"""A trim leaves at least this much."""

_ROUNDING_S = 0.01
"""Lengths are shown in hundredths: an end so little behind the song's is the song's."""

_CHUNK, _PART = 10 * SAMPLE_RATE, 2 * SAMPLE_RATE
"""Samples made ready at a time, and encoded: libsndfile's Vorbis encoder keeps all that it is given on the stack."""

_RIFF_NAMES = MappingProxyType({"title": "TITLE", "comment": "DESCRIPTION", "date": "DATE"})
"""Facts that RIFF has a field for, by libsndfile's name."""

_NAME_CHARS, _NAME_BYTES = 80, 180
"""What a name keeps of a title; with seed and suffix it stays below the 255 bytes of every file system."""

_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Letters and marks by Unicode's categories that nobody sees: fillers and selectors of a variant."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file: what it is called, what a listener should know, and what libsndfile makes it by.

    `bits` are those of whole-number samples, None where samples are floats or not kept as samples.
    """

    suffix: str
    title: str
    note: str
    container: Literal["WAV", "FLAC", "MP3", "OGG"]
    subtype: str
    bits: int | None = None
    compression_level: float | None = None
    bitrate_mode: Literal["CONSTANT", "VARIABLE"] | None = None

    @property
    def lossless(self) -> bool:
        """Whether the samples come out as they went in, rounded to `bits` at the most."""
        return self.container in ("WAV", "FLAC")


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "wav24": Format(
            suffix=".wav",
            title="WAV 24 bit",
            note="Every sample as the studio keeps it; for editors and for mastering.",
            container="WAV",
            subtype="PCM_24",
            bits=24,
        ),
        "wav16": Format(
            suffix=".wav",
            title="WAV 16 bit",
            note="As on a CD, for devices that take nothing else; dithered, so that quiet ends stay smooth.",
            container="WAV",
            subtype="PCM_16",
            bits=16,
        ),
        "wav32f": Format(
            suffix=".wav",
            title="WAV 32 bit float",
            note="Samples as floats, which no later gain can clip; for further work in an editor.",
            container="WAV",
            subtype="FLOAT",
        ),
        "flac": Format(
            suffix=".flac",
            title="FLAC 24 bit",
            note="The same samples as WAV 24 bit in a smaller file; for archives and good players.",
            container="FLAC",
            subtype="PCM_24",
            bits=24,
        ),
        "flac16": Format(
            suffix=".flac",
            title="FLAC 16 bit",
            note="The same samples as WAV 16 bit in about half the size.",
            container="FLAC",
            subtype="PCM_16",
            bits=16,
        ),
        "mp3-320": Format(
            suffix=".mp3",
            title="MP3 320 kbit/s",
            note="Plays everywhere, at the highest rate that MP3 has; peaks can come out a little higher.",
            container="MP3",
            subtype="MPEG_LAYER_III",
            compression_level=0.0,
            bitrate_mode="CONSTANT",
        ),
        "mp3-v0": Format(
            suffix=".mp3",
            title="MP3 V0",
            note="Plays everywhere; spends bits where they are heard, about 250 kbit/s.",
            container="MP3",
            subtype="MPEG_LAYER_III",
            compression_level=0.0,
            bitrate_mode="VARIABLE",
        ),
        "ogg": Format(
            suffix=".ogg",
            title="OGG Vorbis q8",
            note="Open and free, about 250 kbit/s; for games, browsers and Linux, not for most Apple players.",
            container="OGG",
            subtype="VORBIS",
            compression_level=0.2,
        ),
        "opus": Format(
            suffix=".opus",
            title="Opus 192 kbit/s",
            note="The best sound for its size; for browsers, phones and messengers, not for old players.",
            container="OGG",
            subtype="OPUS",
            compression_level=0.64,
        ),
    }
)
"""What a song can be exported as, by name. libsndfile takes quality as a level of compression from 0 to 1."""


def write(path: Path, audio: Waveform, format: Format, tags: Tags, cover: bytes | None = None) -> Path:
    """Write `audio` `(2, S)` with its tags, and a PNG for its cover, as a file of the format; whole or not at all.

    16 bits are dithered, with the same noise every time, unless the samples have no more bits; other whole numbers are
    rounded. Samples beyond full scale are cut off there. Raises RequestError for samples that are not finite, OSError
    when the disk refuses.
    """
    for _ in writing(path, audio, format, tags, cover):
        pass
    return path


def writing(
    path: Path, audio: Waveform, format: Format, tags: Tags, cover: bytes | None = None
) -> Generator[float, None, None]:
    """Write as `write` does, and yield the share that is encoded every 2 s; closed before its end, it writes nothing.

    Ten minutes of mp3 or opus take a processor half a minute, of the rest seconds.
    """
    if not np.isfinite(audio).all():
        raise RequestError([Fault("audio", "NaN or infinite", "must hold finite samples only")])
    texts = tags.texts()
    # Through memory: libsndfile tells a full disk by a failed assertion, Python by an OSError.
    encoded = io.BytesIO()
    with soundfile.SoundFile(
        encoded,
        "w",
        SAMPLE_RATE,
        channels=2,
        format=format.container,
        subtype=format.subtype,
        compression_level=format.compression_level,
        bitrate_mode=format.bitrate_mode,
    ) as file:
        if format.container == "WAV":  # for the programs that read RIFF's own list of facts and no ID3
            file.software = PRODUCT
            for name, text in ((each, texts.get(tag)) for each, tag in _RIFF_NAMES.items()):
                if text:
                    setattr(file, name, text)
        done = 0
        for samples in (part for chunk in _samples(audio, format.bits) for part in _parts(chunk)):
            file.write(samples.T)
            done += samples.shape[1]
            yield done / audio.shape[1]
    add_tags(encoded, tags, cover)
    write_whole(path, encoded.getbuffer())
    encoded.close()  # mutagen ties it into a circle, which would keep the sound until the garbage collector comes by


def trimmed(
    audio: Waveform, start_s: float = 0.0, end_s: float | None = None, fade_in_s: float = 0.0, fade_out_s: float = 0.0
) -> Waveform:
    """The part of `audio` `(2, S)` between two times; None is its end.

    Fades are sine-shaped: of equal power, so that they meet another song's without a dip, and they begin and end in
    samples that are exactly 0. Raises RequestError, with every fault, for times that are not in the recording, less
    than 0.1 s between them, and fades that together are longer than what is left.
    """
    seconds = audio.shape[1] / SAMPLE_RATE
    end_s = seconds if end_s is None else end_s
    faults = list(_faults(seconds, start_s, end_s, fade_in_s, fade_out_s))
    if faults:
        raise RequestError(faults)
    part = audio[:, round(start_s * SAMPLE_RATE) : round(end_s * SAMPLE_RATE)].copy()
    part *= _rise(part.shape[1], fade_in_s)
    part *= _rise(part.shape[1], fade_out_s)[::-1]
    return part


def file_name(title: str, seed: int | None, suffix: str) -> str:
    """A readable name that every file system takes: `lofi-hip-hop_seed7.mp3`.

    Letters and digits of any script stay, in lower case; a hyphen stands for whatever is between them. A suffix has its
    dot.
    """
    words = _in_names(unicodedata.normalize("NFKC", title).lower()).split()
    slug = unicodedata.normalize("NFC", "-".join(words))
    if len(slug) > _NAME_CHARS:
        slug = slug[: _NAME_CHARS + 1].rpartition("-")[0] or slug[:_NAME_CHARS]
    slug = slug.encode("utf-8")[:_NAME_BYTES].decode("utf-8", errors="ignore").strip("-")
    return f"{slug or 'song'}{'' if seed is None else f'_seed{seed}'}{suffix}"


def _in_names(text: str) -> str:
    """The letters, digits and marks on them that can be seen, and a blank for whatever else there is."""
    kept: list[str] = []
    for each in text:
        kind = unicodedata.category(each)[0]
        shown = kind in "LN" or (kind == "M" and kept[-1:] not in ([], [" "]))
        kept.append(each if shown and not _UNSEEN.match(each) else " ")
    return "".join(kept)


def _samples(audio: Waveform, bits: int | None) -> Iterator[NDArray[np.int32] | Waveform]:
    """The recording chunk by chunk, as whole numbers where the format keeps those."""
    chunks = (audio[:, start : start + _CHUNK] for start in range(0, audio.shape[1], _CHUNK))
    if bits is None:
        yield from chunks
    elif bits > 16 or _has_no_more_than(audio, bits):
        yield from (as_integers(chunk, bits) for chunk in chunks)
    else:
        noise = np.random.default_rng(0)
        for chunk in chunks:
            triangular = noise.random(chunk.shape) - noise.random(chunk.shape)
            yield as_integers(chunk + triangular / 2 ** (bits - 1), bits)


def _parts(chunk: NDArray[np.int32] | Waveform) -> Iterator[NDArray[np.int32] | Waveform]:
    return (chunk[:, start : start + _PART] for start in range(0, chunk.shape[1], _PART))


def _has_no_more_than(audio: Waveform, bits: int) -> bool:
    """Whether every sample lies on the grid of so many bits: it needs no dither, and silence stays silent."""
    full_scale = np.float32(2 ** (bits - 1))
    chunks = (audio[:, start : start + _CHUNK] * full_scale for start in range(0, audio.shape[1], _CHUNK))
    return all(bool((chunk == np.rint(chunk)).all()) for chunk in chunks)


def _faults(seconds: float, start_s: float, end_s: float, fade_in_s: float, fade_out_s: float) -> Iterator[Fault]:
    times = {"start_s": start_s, "end_s": end_s, "fade_in_s": fade_in_s, "fade_out_s": fade_out_s}
    wrong = [name for name, value in times.items() if not (math.isfinite(value) and value >= 0)]
    yield from (Fault(name, times[name], "must be a number of seconds from 0") for name in wrong)
    if wrong:
        return
    if end_s > seconds + _ROUNDING_S:
        yield Fault("end_s", end_s, f"must not lie behind the end at {seconds:.2f} seconds")
    left = min(end_s, seconds) - start_s
    if left < SHORTEST_S:
        yield Fault("start_s", start_s, f"must leave at least {SHORTEST_S:g} seconds before {end_s:.4g}")
    elif fade_in_s + fade_out_s > left + _ROUNDING_S:
        longer = "fade_in_s" if fade_in_s > fade_out_s else "fade_out_s"
        rule = f"must fit with the other fade into the {left:.4g} seconds that are left"
        yield Fault(longer, times[longer], rule)


def _rise(samples: int, fade_s: float) -> Waveform:
    """Weights that rise from exactly 0 over a fade and stay at 1."""
    length = min(round(fade_s * SAMPLE_RATE), samples)
    weights = np.ones(samples, dtype=np.float32)
    weights[:length] = np.sin(np.pi / 2 * np.arange(length) / max(length, 1))
    return weights
