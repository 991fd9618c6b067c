"""A recording in another style, taken apart into tracks for a DAW.

`.venv/bin/python examples/cover_stems.py http://127.0.0.1:7860 demo.wav "chiptune" tracks/`: the parts of the cover as
wav files in the folder, each as long as the recording, numbered. Needs `./studio checkpoints download htdemucs`.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

parser = argparse.ArgumentParser(description="The parts of a cover of a recording.")
parser.add_argument("url")
parser.add_argument("recording", type=Path)
parser.add_argument("prompt")
parser.add_argument("folder", type=Path)
parser.add_argument("--seed", type=int, default=1)
options = parser.parse_args()


def made(name: str, **values: object) -> tuple[Any, ...]:
    """What an endpoint makes; its progress goes to stderr."""
    job = client.submit(**values, api_name=name)
    for *_, status in job:
        print(f"\r{status!s:<70.70}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return job.result()


client = Client(options.url, verbose=False)
try:
    source = handle_file(options.recording)
    _, song, _ = made("/cover", src_audio=source, prompt=options.prompt, seed=options.seed)
    files, _, _ = made("/stems", track=song["id"])
except AppError as refused:
    sys.exit(f"refused: {refused}")
options.folder.mkdir(parents=True, exist_ok=True)
parts = [Path(file) for file in files if Path(file).suffix == ".wav"]
for number, part in enumerate(parts, start=1):
    print(shutil.copy(part, options.folder / f"{number:02} {part.stem}.wav"))
