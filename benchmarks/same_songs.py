"""Ten songs over all modes, and what is written beside them, as hashes: the same code makes the same.

    .venv/bin/python benchmarks/same_songs.py                    # prints one line for each song
    .venv/bin/python benchmarks/same_songs.py --house ../other   # those of another checkout, with its own code

Two revisions that print the same lines on the same machine render the same samples. Each song goes through the command
line, as a user makes it; nano renders, so that a fresh clone can do it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import soundfile

ROOT = Path(__file__).parent.parent
WORDS = "[verse]\nstreetlights hum\nthe night is young\n[chorus]\nwe go home\nwe go home"
COMMON = ("--prompt", "lofi hip hop, rainy night", "--seed", "7")
SONGS: Mapping[str, Sequence[str]] = {
    "generate": ("generate", *COMMON, "--duration-s", "10", "--bpm", "96", "--keyscale", "A minor"),
    "words": ("generate", "--prompt", "techno", "--lyrics", WORDS, "--duration-s", "auto", "--seed", "3"),
    "heun": (
        "generate",
        *COMMON,
        "--duration-s",
        "12",
        "--solver",
        "heun",
        "--shift",
        "2",
        "--retake-variance",
        "0.3",
        "--retake-seed",
        "5",
        "--schedule",
        "linear_quadratic",
    ),
    "takes": (
        "generate",
        "--prompt",
        "jazz waltz",
        "--timesignature",
        "3",
        "--duration-s",
        "10",
        "--solver",
        "pingpong",
        "--variations",
        "2",
        "--seed",
        "11",
    ),
    "planned": (
        "generate",
        "--prompt",
        "house",
        "--plan",
        "bpm: 120",
        "--thinking",
        "--duration-s",
        "10",
        "--seed",
        "1",
    ),
    "cover": (
        "cover",
        "--prompt",
        "chiptune",
        "--src-audio",
        "{generate}",
        "--seed",
        "2",
        "--audio-cover-strength",
        "0.6",
        "--cover-noise-strength",
        "0.2",
    ),
    "extend": ("extend", "--src-audio", "{generate}", "--extra-duration-s", "6", "--seed", "4"),
    "before": ("extend", "--src-audio", "{words}", "--extra-duration-s", "5", "--side", "before", "--seed", "5"),
    "edit": (
        "edit",
        "--src-audio",
        "{generate}",
        "--segment-start-s",
        "3",
        "--segment-end-s",
        "6",
        "--seed",
        "6",
        "--prompt",
        "drum solo",
    ),
    "morph": (
        "edit",
        "--src-audio",
        "{generate}",
        "--edit-mode",
        "flow",
        "--segment-start-s",
        "2",
        "--segment-end-s",
        "7",
        "--prompt",
        "piano ballad",
        "--seed",
        "8",
        "--n-avg",
        "2",
    ),
}
TEXTS: Mapping[str, Sequence[str]] = {
    "lyrics": ("lyrics", "--brief", "leaving the city at dawn", "--writer", "built-in", "--seed", "9"),
    "plan": ("plan", "--prompt", "lofi hip hop", "--seed", "4"),
    "draft": ("draft", "--query", "a lofi song about leaving the city at dawn", "--seed", "4"),
    "enhance": ("enhance", "--prompt", "techno", "--bpm", "128", "--seed", "4"),
}


def main() -> None:
    """Print the name and hash of each song and text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--house", type=Path, default=ROOT, help="the checkout whose code runs")
    house = parser.parse_args().house.resolve()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name, words in SONGS.items():
            out = home / f"{name}.wav"
            files = {each: home / f"{each}.wav" for each in SONGS}
            _studio(house, home, [*(word.format(**files) for word in words), "--out", str(out)])
            for path in sorted(home.glob(f"{name}*.wav")):
                samples, rate = soundfile.read(path, dtype="int32")
                digest = hashlib.sha256(samples.tobytes()).hexdigest()
                sys.stdout.write(f"{path.stem:10} {len(samples) / rate:7.2f} s  {digest}\n")
        for name, words in TEXTS.items():
            digest = hashlib.sha256(_studio(house, home, words)).hexdigest()
            sys.stdout.write(f"{name:10}            {digest}\n")


def _studio(house: Path, home: Path, words: Sequence[str]) -> bytes:
    environment = {
        **os.environ,
        "ACE_OUTPUTS_DIR": str(home / "outputs"),
        "ACE_MODELS_DIR": str(home / "models"),
        "HF_HUB_CACHE": str(home / "hub"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(house / "app.py"), *words]
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    ).stdout


if __name__ == "__main__":
    main()
