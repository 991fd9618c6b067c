"""What the containers of recordings tell of themselves: whether all of a file is there, and what is in it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

CUT_S = 0.1
"""What is missing of a wav from this length on is told: some programs leave out the last samples of a block."""

_UNTOLD = (0, 0xFFFF_FFFF)
"""Sizes of a wav that was written into a pipe, whose length its writer could not know."""

_LAST_PAGE = 1 << 17
"""Bytes in which the last page of an Ogg file begins: a page has no more than 65,307."""

_MOST_CHUNKS = 1000
"""A wav has a handful; a file of zeros would have millions that are empty."""

_NAMES = {1: "PCM", 2: "ADPCM", 3: "float", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x31: "GSM", 0x55: "MP3"}


def cut_off(path: Path) -> str:
    """What is missing at the end of a wav or an Ogg file; empty for one that is whole, and for any other."""
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE":
            return _missing_of_wav(file, path.stat().st_size)
        if start[:4] == b"OggS":
            return _missing_of_ogg(file, path.stat().st_size)
    return ""


def wav_format(path: Path) -> str:
    """What a wav says of its samples: the name or number of their format, and their bits; empty for no wav."""
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE":
            for name, at, _ in _chunks(file):
                file.seek(at)
                facts = file.read(16)
                if name == b"fmt " and len(facts) == 16:
                    number, _, _, _, _, bits = struct.unpack("<HHIIHH", facts)
                    return f"{_NAMES.get(number, f'0x{number:04x}')} with {bits} bits"
    return ""


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and size of each chunk of a wav, as far as they are there."""
    at = 12
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        yield head[:4], at + 8, size
        at += 8 + size + size % 2


def _missing_of_wav(file: IO[bytes], size: int) -> str:
    bytes_per_s = 0
    for name, at, told in _chunks(file):
        if name == b"fmt ":
            file.seek(at)
            facts = file.read(16)
            bytes_per_s = int.from_bytes(facts[8:12], "little")
        if name == b"data":
            missing = at + told - size
            if told in _UNTOLD or not bytes_per_s or missing < CUT_S * bytes_per_s:
                return ""
            have, whole = (size - at) / bytes_per_s, told / bytes_per_s
            return f"breaks off after {have:.4g} of {whole:.4g} seconds: {missing:,} bytes are missing"
    return ""


def _missing_of_ogg(file: IO[bytes], size: int) -> str:
    file.seek(max(0, size - _LAST_PAGE))
    end = file.read()
    last = end.rfind(b"OggS")
    page = end[last:] if last >= 0 else b""
    segments = page[26] if len(page) > 26 else 0
    whole = 27 + segments + sum(page[27 : 27 + segments])
    if len(page) < whole:
        return f"breaks off in its last page: at least {whole - len(page):,} bytes are missing"
    return ""
