"""Lists of jobs: read, made, killed, stopped, and gone on with."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cli import main as cli
from cli.job_lists import Job, JobList
from library.tracks import Library
from tests.conftest import ROOT
from tests.tiny import save_stand_in

SONG = {"prompt": "lofi", "duration_s": 10, "inference_steps": 1}
WORDS = {"mode": "lyrics", "brief": "rain at night", "writer": "built-in"}
END_S = 600


def jobs_of(path: Path, *lines: object) -> list[Job]:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return JobList(path, cli.COMMANDS).jobs


def test_a_job_is_known_by_what_it_asks_for_wherever_its_line_stands(tmp_path: Path) -> None:
    sound = tmp_path / "a.wav"
    sound.write_bytes(b"one")
    cover = {"mode": "cover", "src_audio": str(sound), "prompt": "x"}
    one, two, three, words, covered = jobs_of(tmp_path / "a.jsonl", SONG, SONG, {**SONG, "seed": 7}, WORDS, cover)
    assert len({job.key for job in (one, two, three, words, covered)}) == 5
    assert one.values["seed"] != two.values["seed"] and three.values["seed"] == 7
    assert isinstance(one.values["seed"], int)
    moved = jobs_of(tmp_path / "b.jsonl", "", WORDS, {"mode": "draft", "query": "x"}, SONG, SONG)
    assert [job.key for job in moved if job.asked != "inspire"] == [words.key, one.key, two.key]
    assert [job.line for job in moved] == [2, 3, 4, 5]
    sound.write_bytes(b"another")
    assert jobs_of(tmp_path / "c.jsonl", cover)[0].key != covered.key


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("nonsense", "line = 'nonsense': must be a JSON object"),
        ([1], "line = [1]: must be a JSON object"),
        ({"mode": "dance"}, "mode = 'dance': must be one of generate, cover"),
        ({"mode": 3}, "mode = 3: must be one of"),
        ({**SONG, "seed": -1, "bpm": 5}, "seed = -1: must be a whole number"),
        ({**SONG, "preview": True}, "preview = True: means nothing where nobody listens"),
        ({"mode": "stems", "colour": "red"}, "colour = 'red': is not a knob of this mode"),
    ],
    ids=str,
)
def test_a_line_that_is_wrong_is_told_so_and_the_others_are_read(tmp_path: Path, line: object, fault: str) -> None:
    wrong, right = jobs_of(tmp_path / "a.jsonl", line, SONG)
    assert fault in str(wrong.fault) and right.fault is None


def test_a_csv_asks_for_the_same_as_json_lines(tmp_path: Path) -> None:
    rows = [
        "mode,prompt,brief,duration_s,inference_steps,instrumental,query,writer",
        "generate,lofi,,10,1,,,",
        ',"lofi",,1e1,1,,,',
        'lyrics,,"rain\nat night",,,,,built-in',
        "draft,,,,,yes,techno,",
        "generate,x,,long,,,,",
        "generate,x,,,,,,,more",
    ]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(rows), encoding="utf-8-sig")
    first, second, words, draft, long, more = read = JobList(path, cli.COMMANDS).jobs
    same = jobs_of(tmp_path / "a.jsonl", SONG, SONG, {**WORDS, "brief": "rain\nat night"})
    assert [job.key for job in (first, second, words)] == [job.key for job in same]
    assert draft.values["instrumental"] is True
    assert "duration_s = 'long': must be a number" in str(long.fault)
    assert "has more cells than the csv has names" in str(more.fault)
    assert [job.line for job in read] == [2, 3, 4, 6, 7, 8]


def test_what_fails_is_a_line_and_the_exit_code_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACE_OUTPUTS_DIR", str(tmp_path / "outputs"))
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path / "models"))
    path = tmp_path / "a.jsonl"
    missing = {**WORDS, "writer": "qwen-7b"}
    jobs_of(path, WORDS, {"mode": "cover"}, missing)
    assert cli.main(["batch", str(path)]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["line"]: line.get("error") for line in lines} == {1: None, 2: "RequestError", 3: "MissingWeights"}
    made = next(line for line in lines if line["line"] == 1)
    assert "[verse" in made["results"][0]["text"]
    assert next(line for line in lines if line["line"] == 2)["faults"][0]["field"] == "src_audio"
    assert [json.loads(line) for line in (tmp_path / "a.results.jsonl").read_text().splitlines()] == lines
    jobs_of(path, WORDS)
    assert cli.main(["batch", str(path)]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "1 of 1 made\n")
    assert cli.main(["batch", str(tmp_path / "none.jsonl")]) == 2


def interrupted(path: Path, environment: dict[str, str], how: signal.Signals, lines: int, after_s: float) -> int:
    """The exit code of a batch that is sent a signal so long after it has written so many lines; none without lines."""
    results = path.with_name(f"{path.stem}.results.jsonl")
    before = results.read_bytes() if results.exists() else b""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "app.py"), "batch", str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    until = time.monotonic() + END_S
    while process.poll() is None and time.monotonic() < until:
        if lines and results.exists() and results.read_bytes()[len(before) :].count(b"\n") >= lines:
            time.sleep(after_s)
            process.send_signal(how)
            break
        time.sleep(0.02)
    # Its processes hold the pipe: that it ends shows that they are gone with the one that began them.
    said = process.communicate(timeout=END_S)[0].decode()
    assert results.read_bytes().startswith(before.rpartition(b"\n")[0]), "a result is gone"
    assert "Traceback" not in said, said
    return process.returncode


def survives(home: Path, songs: int, words: int, kills: int, seed: int) -> None:
    """Make a list that is killed so many times, and stopped once, and see that each job was made once."""
    chance = random.Random(seed)
    asked: list[Any] = [SONG] * songs + [WORDS] * words
    chance.shuffle(asked)
    path = home / "list.jsonl"
    keys = {job.key for job in jobs_of(path, *asked)}
    environment = {
        **os.environ,
        "ACE_NANO_DIR": str(save_stand_in(home / "nano")),
        "ACE_OUTPUTS_DIR": str(home / "outputs"),
        "ACE_MODELS_DIR": str(home / "models"),
        "OMP_NUM_THREADS": "1",
    }
    share = len(asked) // (kills + 2)
    for how in chance.sample([signal.SIGKILL] * kills + [signal.SIGINT], kills + 1):
        code = interrupted(path, environment, how, chance.randint(1, share), chance.uniform(0, 0.6))
        assert code == (130 if how is signal.SIGINT else -signal.SIGKILL)
    assert interrupted(path, environment, signal.SIGTERM, 0, 0) == 0
    lines = [json.loads(line) for line in (home / "list.results.jsonl").read_text().splitlines() if line]
    assert Counter(line["key"] for line in lines if "results" in line) == Counter(keys)
    told = {each["id"] for line in lines for each in line["results"] if "id" in each}
    kept = Library(home / "outputs").list()
    assert {track.id for track in kept} == told and len(told) == songs
    assert len({track.seed for track in kept}) == songs
    shutil.rmtree(home / "outputs")


def test_a_batch_that_is_killed_and_stopped_makes_every_job_once(tmp_path: Path) -> None:
    survives(tmp_path, songs=3, words=15, kills=1, seed=3)


@pytest.mark.slow
def test_a_batch_of_200_jobs_survives_ten_kills(tmp_path: Path) -> None:
    survives(tmp_path, songs=150, words=50, kills=10, seed=4)
