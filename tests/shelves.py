"""Libraries with many songs, made as files and not by a model."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from core.knobs import to_json
from core.params import GenerateRequest
from library.records import Record
from library.tracks import Library

STYLES = ("lofi hip hop", "slow reggae", "ambient piano", "hard techno", "Überdruss polka")
WORDS = "[verse]\nThe rain is on the window and the night is on the street\n[chorus]\nHold on, hold on\n" * 6
FIRST = datetime(2025, 1, 1, tzinfo=UTC)


def fill(root: Path, songs: int, takes: int = 1) -> Library:
    """A library with so many songs, each a minute older than the next, of so many takes.

    Song n is called `song n`, every seventh is a favourite, and all sound alike: they share one second of noise.
    """
    library = Library(root)
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 48_000)).astype(np.float32)
    noise *= np.abs(np.sin(np.linspace(0, 9, 48_000, dtype=np.float32)))
    record = Record(
        mode="generate", title="song", checkpoint="nano", seed=0, device="cpu", tflop=1.0, seconds_taken=1.0
    )
    pattern = library.save(noise, None, record)
    facts = json.loads(pattern.sidecar.read_text())
    for number in range(songs * takes):
        song, take = divmod(number, takes)
        style, created = STYLES[song % len(STYLES)], FIRST + timedelta(minutes=number)
        identity = f"{created:%Y%m%d-%H%M%S}-{number:08x}"
        values = to_json(GenerateRequest(prompt=f"song {song}, {style}", lyrics=WORDS, seed=song, variations=takes))
        facts |= {"id": identity, "created": created.isoformat(), "title": f"song {song}, {style}", "seed": song + take}
        facts |= {"take": take, "key": f"{song:064x}", "favourite": song % 7 == 0, "values": values}
        facts |= {"sha256": f"{number:064x}", "checkpoint": "nano" if song % 3 else "xl-sft"}
        (root / f"{identity}.json").write_text(json.dumps(facts, ensure_ascii=False, indent=1), encoding="utf-8")
        os.link(pattern.path, root / f"{identity}.wav")
    library.delete(pattern.id)
    return library
