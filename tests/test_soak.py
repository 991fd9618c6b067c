"""What the studio bears, in short: benchmarks/soak.py has the long form, docs/reliability.md its figures."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks import soak

pytestmark = pytest.mark.slow


def test_many_clients_get_right_songs_or_are_told_to_wait(tmp_path: Path) -> None:
    told = soak.clients(tmp_path, 10, 60.0)
    assert sum(told.songs.values()) > 0
    assert told.wrong == []
    assert [stall for stall in told.stalls if stall[1] > soak.LONG_S] == []


def test_sessions_leave_nothing_behind(tmp_path: Path) -> None:
    first, last = soak.sessions(tmp_path, 200, 80, 20)
    assert last.resident_mb < 1.05 * first.resident_mb
    assert last.threads <= first.threads + 2 and last.descriptors <= first.descriptors + 4
    assert last.temporary <= 2 * 20


def test_every_job_that_was_left_is_found_again(tmp_path: Path) -> None:
    assert soak.leavers(tmp_path, 50, random.Random(2)) == []


def test_a_kill_loses_no_song_that_was_saved_and_leaves_none_that_is_damaged(tmp_path: Path) -> None:
    told = soak.kills(tmp_path, 20, random.Random(2))
    assert told.told >= 20
    assert (told.lost, told.corrupt) == ([], [])
