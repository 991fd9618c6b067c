"""What a safetensors file holds, read from its header and checked against its length, without loading it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from core.errors import AdapterError

AGAIN = "Download the file again, or choose another."

_FORMATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
"""numpy's spelling of the number formats; bfloat16 is read as the upper half of a float32."""
FLOATS = ("F64", "F32", "F16", "BF16")
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""The first bytes of torch's archives and of bare pickles."""
_PICKLE_SUFFIXES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
_LENGTH_BYTES = 8
_LONGEST_HEADER = 10_000_000
"""Bytes; an adapter's has tens of thousands. What claims more is another format, or meant to exhaust the memory."""


_READ_BYTES = 1 << 24
"""Read of a tensor at a time: a multiple of every number's size."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: its number format, its shape, and its first byte and the one after its last."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """Every tensor of a file by its key, and the metadata that were saved with them."""

    path: Path
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]

    def largest(self, key: str) -> float:
        """The largest magnitude in a tensor of floats; NaN or infinite where one of its numbers is. Raises OSError."""
        entry, largest = self.entries[key], 0.0
        with self.path.open("rb") as file:
            file.seek(entry.start)
            left = entry.stop - entry.start
            while raw := file.read(min(left, _READ_BYTES)):
                left -= len(raw)
                largest = max(largest, _magnitude(raw, entry.dtype), key=lambda each: (math.isnan(each), each))
        return largest

    def scalar(self, key: str) -> float:
        """The value of a tensor of one element; raises AdapterError when it has more, or is no finite number."""
        entry = self.entries[key]
        value = math.nan
        if math.prod(entry.shape) == 1:
            with self.path.open("rb") as file:
                file.seek(entry.start)
                raw = np.frombuffer(file.read(entry.stop - entry.start), _FORMATS[entry.dtype])
            if entry.dtype == "BF16":
                raw = (raw.astype("<u4") << 16).view("<f4")
            value = float(raw[0])
        if not math.isfinite(value):
            raise AdapterError(f"{self.path.name} gives no finite number as {key}.", AGAIN)
        return value


def _magnitude(raw: bytes, dtype: str) -> float:
    numbers = np.frombuffer(raw, _FORMATS[dtype])
    if dtype == "BF16":
        return float(((numbers & 0x7FFF).max().astype("<u4") << 16).view("<f4"))  # NaN's bits are above infinity's
    return float(np.abs(numbers).max())


def read_header(path: Path) -> Header:
    """The header of a safetensors file.

    Raises AdapterError for what is no such file, a pickle above all, and for one whose tensors do not fill it exactly.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        text = file.read(length) if len(start) == _LENGTH_BYTES and length <= _LONGEST_HEADER else b""
    if not text.startswith(b"{"):
        _refuse_format(path, start, size)
    if len(text) < length:
        _refuse_length(path, size, _LENGTH_BYTES + length)
    try:
        found = json.loads(text)
        metadata = {str(name): str(value) for name, value in found.pop("__metadata__", {}).items()}
        entries = {key: _entry(facts, _LENGTH_BYTES + length) for key, facts in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as broken:
        raise AdapterError(f"{path.name} has a broken header: {broken}.", AGAIN) from broken
    end = max((entry.stop for entry in entries.values()), default=_LENGTH_BYTES + length)
    if end != size:
        _refuse_length(path, size, end)
    return Header(path, entries, metadata)


def _entry(facts: Mapping[str, object], data: int) -> Entry:
    """The entry of a tensor whose offsets count from the byte `data`; raises ValueError when it contradicts itself."""
    dtype, shape, offsets = facts["dtype"], facts["shape"], facts["data_offsets"]
    if dtype not in _FORMATS:
        raise ValueError(f"numbers of the format {dtype} are not known")
    sides = tuple(int(side) for side in shape)  # type: ignore[attr-defined]
    start, stop = (int(offset) for offset in offsets)  # type: ignore[attr-defined]
    if min((start, *sides)) < 0 or stop - start != math.prod(sides) * np.dtype(_FORMATS[str(dtype)]).itemsize:
        raise ValueError(f"{stop - start} bytes cannot hold {dtype} {sides}")
    return Entry(str(dtype), sides, data + start, data + stop)


def _refuse_format(path: Path, start: bytes, size: int) -> NoReturn:
    if start.startswith(_PICKLES) or path.suffix.lower() in _PICKLE_SUFFIXES:
        raise AdapterError(
            f"{path.name} is a pickle, which may run code when it is opened.", "Ask its author for a .safetensors file."
        )
    if size <= _LENGTH_BYTES:
        _refuse_length(path, size, _LENGTH_BYTES + 1)
    raise AdapterError(f"{path.name} is no safetensors file.", AGAIN)


def _refuse_length(path: Path, size: int, expected: int) -> NoReturn:
    if size < expected:
        raise AdapterError(f"{path.name} is truncated: {size:,} bytes of {expected:,} are there.", AGAIN)
    raise AdapterError(f"{path.name} has {size - expected:,} bytes more than its header tells.", AGAIN)
