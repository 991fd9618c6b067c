"""The whole road at full size: what a song costs in seconds and memory, from the command line to the file.

    .venv/bin/python benchmarks/full_size.py --models /tmp/models xl-sft --seconds 10 --steps 2 --remove
    .venv/bin/python benchmarks/full_size.py --models /tmp/models lm-0.6b --seconds 10

Random weights are made where none lie (see random_weights.py). Then the studio's own command makes a song with them, or
plans one, in a process of its own, which is watched: when each stage begins, and how much memory it holds. Prints one
row of a table for each checkpoint; --json keeps the rows for later.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, get_args

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.random_weights import NAMES, make, weight_files
from library.tracks import Library
from networks.acestep.published import PLANNER_CONFIGS
from networks.machine import Offload

ROOT = Path(__file__).parent.parent
PROMPT = "lofi hip hop, rainy night, a female voice"
LYRICS = "[verse]\nstreetlights hum\nthe night is young\n[chorus]\nwe go home\nwe go home"
KNOWN = ("--bpm", "96", "--keyscale", "A minor", "--timesignature", "4", "--seed", "7")
STAGES = ("loading", "planning", "encoding", "conditioning", "denoising", "decoding", "saving")
STEP = re.compile(r"(\d+) of (\d+)")


@dataclass
class Row:
    """What was measured: seconds, gigabytes, and the command.

    `stages` are the seconds of each stage, `step_s` those of a step (or of an audio code) once the first is done.
    `loaded_gb` is the most memory that the process held up to the end of loading, `peak_gb` ever; `gpu_gb` is the
    most that its tensors took on the GPU. `weights_gb` is what lies in the files.
    """

    name: str
    audio_s: float
    steps: int
    command: str
    machine: str = ""
    weights_gb: float = 0.0
    made_s: float = 0.0
    whole_s: float = 0.0
    step_s: float = 0.0
    loaded_gb: float | None = None
    peak_gb: float = 0.0
    gpu_gb: float | None = None
    stages: dict[str, float] = field(default_factory=dict)

    def shown(self) -> str:
        """The row of the table."""
        cells = [
            self.name,
            f"{self.audio_s:g} s, {self.steps} steps" if self.steps else f"plan of {self.audio_s:g} s",
            f"{self.weights_gb:.1f}",
            "" if self.loaded_gb is None else f"{self.loaded_gb:.1f}",
            f"{self.peak_gb:.1f}",
            "" if self.gpu_gb is None else f"{self.gpu_gb:.1f}",
            f"{self.stages.get('loading', 0):.1f}",
            f"{self.step_s * 1000:.0f}",
            f"{self.stages.get('decoding', 0):.1f}" if self.steps else "",
            f"{self.whole_s:.1f}",
        ]
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| checkpoint | song | weights GB | loaded GB | process GB | GPU GB | loading s | step ms | decoding s | all s |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def say(line: str) -> None:
    """Put the line on stdout at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def machine_of() -> str:
    """What the numbers were measured on."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {os.cpu_count()} cores"


def lines_of(stream: IO[bytes]) -> Iterator[tuple[float, str]]:
    """What the progress bar draws, as soon as it does: the moment, and the line."""
    unread = b""
    while block := os.read(stream.fileno(), 65536):
        *lines, unread = re.split(rb"[\r\n]", unread + block)
        now = time.monotonic()
        for line in [*lines, unread]:  # a bar ends its line only when it draws the next
            yield now, line.decode("utf-8", "replace").strip()


def most_gb(process: subprocess.Popen[bytes]) -> float | None:
    """The most memory that a running process has held; None where the system does not tell."""
    with contextlib.suppress(OSError):
        told = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        if found := re.search(r"VmHWM:\s+(\d+) kB", told):
            return int(found[1]) * 1024 / 1e9
    return None


@dataclass
class Watch:
    """When each stage of a job began, and its steps."""

    began: list[tuple[str, float]] = field(default_factory=list)
    steps: dict[int, float] = field(default_factory=dict)

    def see(self, now: float, line: str) -> bool:
        """Whether a stage begins with this line."""
        stage = next((stage for stage in STAGES if line.startswith(stage)), None)
        if stage is None:
            return False
        if found := STEP.search(line):
            self.steps.setdefault(int(found[1]), now)
        if self.began and self.began[-1][0] == stage:
            return False
        self.began.append((stage, now))
        return True

    def stages(self, end: float) -> dict[str, float]:
        """The seconds of every stage; what comes before the first is the start of Python."""
        ends = [now for _, now in self.began[1:]] + [end]
        taken: dict[str, float] = {}
        for (stage, start), stop in zip(self.began, ends, strict=True):
            taken[stage] = taken.get(stage, 0.0) + stop - start
        return taken

    def step_s(self) -> float:
        """The seconds of a step, the first of those that were told left out."""
        if len(self.steps) < 2:
            return 0.0
        first, last = min(self.steps), max(self.steps)
        return (self.steps[last] - self.steps[first]) / (last - first)


def command_of(name: str, seconds: float, steps: int | None, flags: Sequence[str]) -> list[str]:
    """The words after `./studio`."""
    common = ["--prompt", PROMPT, "--lyrics", LYRICS, "--duration-s", f"{seconds:g}", *KNOWN, *flags]
    if name in PLANNER_CONFIGS:
        return ["plan", "--checkpoint", "xl-sft", "--planner", name, *common]
    asked = [] if steps is None else ["--inference-steps", str(steps)]
    return ["generate", "--checkpoint", name, *common, *asked, "--no-thinking", "--fresh"]


def measured(name: str, models: Path, seconds: float, steps: int | None, flags: Sequence[str]) -> Row:
    """The row of one command; raises CalledProcessError, its last words on stderr, when it fails."""
    words = command_of(name, seconds, steps, flags)
    row = Row(name, seconds, 0, " ".join(["./studio", *words]), machine_of())
    with tempfile.TemporaryDirectory() as outputs:
        environment = {**os.environ, "ACE_MODELS_DIR": str(models), "ACE_OUTPUTS_DIR": outputs, "HF_HUB_OFFLINE": "1"}
        run(row, words, environment)
        if name not in PLANNER_CONFIGS:
            (track,) = Library(Path(outputs)).list()
            row.audio_s, row.steps = track.seconds, int(str(track.values["inference_steps"]))
            row.gpu_gb = track.peak_gb if track.device == "cuda" else None
    return row


def run(row: Row, words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run the studio's command as this Python does, and fill the row."""
    started, watch, said = time.monotonic(), Watch(), list[str]()
    command = [sys.executable, str(ROOT / "app.py"), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stderr is not None and process.stdout is not None
    for now, line in lines_of(process.stderr):
        said.append(line)
        if watch.see(now, line) and watch.began[-1][0] != "loading" and row.loaded_gb is None:
            row.loaded_gb = most_gb(process)
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.stderr.write("\n".join(line for line in said if line)[-4000:] + "\n")
        raise subprocess.CalledProcessError(process.returncode, command)
    end = time.monotonic()
    row.whole_s, row.stages, row.step_s = end - started, watch.stages(end), watch.step_s()
    row.peak_gb = usage.ru_maxrss / (1e9 if platform.system() == "Darwin" else 1e6)


def main() -> int:
    """0 when every command did its work."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("names", nargs="+", choices=NAMES)
    options.add_argument("--models", type=Path, required=True, help="where the weights lie, or shall lie")
    options.add_argument("--seconds", type=float, default=10.0, help="of audio")
    options.add_argument("--steps", type=int, help="left out: the checkpoint's own number")
    options.add_argument("--device", help="left out: the best there is")
    options.add_argument("--dtype", default="bfloat16")
    options.add_argument("--offload", choices=get_args(Offload), help="left out: as the device's memory asks")
    options.add_argument("--memory-gb", help="left out: all that is free")
    options.add_argument("--json", type=Path, help="a file that gets one line more for each row")
    options.add_argument("--remove", action="store_true", help="remove the weights that were made")
    asked = options.parse_args()
    flags = ["--dtype", asked.dtype]
    for flag in ("device", "offload", "memory_gb"):
        if value := getattr(asked, flag):
            flags += [f"--{flag.replace('_', '-')}", value]
    drawn = "cuda" if asked.device == "cuda" else "cpu"
    say(HEAD)
    for name in asked.names:
        there, started = (asked.models / name).exists(), time.monotonic()
        asked.models.mkdir(parents=True, exist_ok=True)
        folder = make(name, asked.models, drawn)
        made_s = time.monotonic() - started
        row = measured(name, asked.models, asked.seconds, asked.steps, flags)
        row.made_s = 0.0 if there else made_s
        row.weights_gb = sum(file.stat().st_size for file in weight_files(folder)) / 1e9
        say(row.shown())
        if asked.json:
            with asked.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
        if asked.remove and not there:
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
