"""A song by Python: `.venv/bin/python examples/song.py http://127.0.0.1:7860 "lofi hip hop" song.wav`."""

import shutil
import sys

from gradio_client import Client
from gradio_client.exceptions import AppError

url, prompt, target = sys.argv[1:4]
job = Client(url, verbose=False).submit(prompt=prompt, duration_s=10, seed=1, api_name="/generate")
try:
    for _, _, status in job:
        if isinstance(status, str):  # a mapping tells a page more
            print(status)
    song, details, _ = job.result()
except AppError as refused:  # its message names each wrong value and the rule that it breaks
    sys.exit(f"refused: {refused}")
shutil.copy(song, target)
print(details["seed"], details["checkpoint"])
