"""What only a Mac can show about the MLX runtime: `python benchmarks/apple.py`.

Three parts, one line each for what was measured: whether this machine's GPU computes what torch computes on the CPU
(nano, in float32, float16 and packed to 8 bits), how fast and in how much memory a song is made (nano, or the
checkpoint that is asked for; by torch too with --torch), and whether processes that made a song in a worker thread
end cleanly. The exit code is 0 when the numbers hold. Elsewhere than on a Mac, --device cpu shows that it runs.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))


import numpy as np
import torch

import pipeline
from checkpoints import find, table
from core.events import Progress
from core.params import GenerateRequest
from core.paths import nano_folder
from core.resolve import resolve
from networks.acestep.job import Job, Take
from networks.acestep.open import open_runtime
from networks.acestep.runtime import Runtime
from networks.machine import Bits, DType, RuntimeName
from planner.composer.planner import ComposerPlanner

ROOT = Path(__file__).parent.parent
FORMATS: tuple[tuple[str, DType, Bits | None, float, float], ...] = (
    ("float32", "float32", None, 1e-3, -60.0),
    ("float16", "float16", None, 2e-2, -30.0),
    ("float16, 8 bits", "float16", 8, 5e-2, -20.0),
)
"""Title, format, bits, and how far a velocity and the sound of a short song may lie from torch's."""
SHORT_S = 3.0
EXIT = """
import sys, threading
sys.path.insert(0, "benchmarks")
import apple
worker = threading.Thread(target=apple.sung, args=("mlx", sys.argv[1]), daemon=True)
worker.start()
worker.join()
"""


def say(line: str) -> None:
    """Print the line to stdout at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def job_of(name: str, seconds: float, steps: int | None = None) -> Job:
    """A song of so many seconds on a checkpoint."""
    recipe = table.recipe_of(name)
    request = GenerateRequest(prompt="lofi hip hop, rainy night", seed=7, duration_s=seconds, inference_steps=steps)
    return Job(request=resolve(request, recipe, lambda n: 0), recipe=recipe)


def take_of(job: Job, runtime: Runtime) -> tuple[Take, dict[str, float]]:
    """The song, and the seconds that each of its stages took."""
    planner = ComposerPlanner() if job.recipe.planner == "composer" else None
    taken: dict[str, float] = {}
    stage, since = "planning", time.perf_counter()
    for event in pipeline.render(job, runtime, planner):
        now = time.perf_counter()
        taken[stage] = taken.get(stage, 0.0) + now - since
        since = now
        if isinstance(event, Progress):
            stage = event.stage
        elif isinstance(event, Take):
            take = event
    return take, taken


def sung(runtime: RuntimeName, device: str) -> Take:
    """A short song of nano in one step."""
    opened = open_runtime(nano_folder(), runtime=runtime, device=device, dtype="float32")
    take, _ = take_of(job_of("nano", SHORT_S, steps=1), opened)
    return take


def velocity_of(runtime: Runtime) -> torch.Tensor:
    """The velocity at a fixed place."""
    dice, channels = torch.Generator().manual_seed(0), runtime.shape.channels
    x, shown = torch.randn(1, 300, channels, generator=dice), torch.randn(1, 300, 2 * channels, generator=dice)
    return runtime.velocity(x, 0.5, shown, [runtime.condition(["a calm piano"], ["[Instrumental]"])])[0]


def numbers_hold(device: str) -> bool:
    """Whether nano is the same as on torch's CPU, within the limits of each format."""
    job, folder = job_of("nano", SHORT_S, steps=4), nano_folder()
    base = open_runtime(folder, runtime="torch", device="cpu", dtype="float32")
    true_velocity, true_sound, held = velocity_of(base), take_of(job, base)[0].audio, True
    for title, dtype, bits, far, loud in FORMATS:
        runtime = open_runtime(folder, runtime="mlx", device=device, dtype=dtype, bits=bits)
        error = ((velocity_of(runtime) - true_velocity).abs().max() / true_velocity.abs().max()).item()
        apart = 20 * np.log10(np.abs(take_of(job, runtime)[0].audio - true_sound).max() + 1e-12)
        runtime.close()
        good = error <= far and apart <= loud
        held &= bool(good)
        limits = f"(at most {far:g} and {loud:g} dB) {'ok' if good else 'TOO FAR'}"
        say(f"nano in {title}: velocity {error:.1e}, song {apart:.0f} dB from torch's {limits}")
    return held


def show_speed(name: str, runtime: RuntimeName, device: str | None, bits: Bits | None, seconds: float) -> None:
    """Print the time and the memory of a song, the second of two so that nothing is compiled in it."""
    place = find.checkpoint(name)
    started = time.perf_counter()
    opened = open_runtime(
        place.folder, place.companion, runtime=runtime, device=device, dtype=place.checkpoint.dtype, bits=bits
    )
    loading, job = time.perf_counter() - started, job_of(name, seconds)
    take_of(job, opened)
    _, taken = take_of(job, opened)
    steps = job.request.inference_steps or job.recipe.inference_steps
    parts = ", ".join(f"{stage} {spent:.2f} s" for stage, spent in taken.items())
    memory = f"{opened.peak_gb():.1f} GB at the most"
    say(f"{name} on {runtime}, {opened.device_kind}: {seconds:g} s of audio in {sum(taken.values()):.1f} s, {memory}")
    say(f"  loaded in {loading:.1f} s; {parts}; {taken['denoising'] / steps:.3f} s for each of {steps} steps")
    opened.close()


def exits_hold(times: int, device: str) -> bool:
    """Whether so many processes that made a song in a worker thread ended with 0 and said nothing."""
    command = [sys.executable, "-c", EXIT, device]
    runs = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False) for _ in range(times)]
    clean = sum((run.returncode, run.stderr) == (0, "") for run in runs)
    say(f"{clean} of {times} processes ended cleanly")
    return clean == times


def main() -> int:
    """0 when the numbers and the exits hold."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--checkpoint", default="nano", help="of which a song is timed")
    options.add_argument("--seconds", type=float, default=30.0, help="of audio in the timed song")
    options.add_argument("--bits", type=int, choices=(8, 4), help="pack the layers of the timed checkpoint")
    options.add_argument("--torch", action="store_true", help="time PyTorch on the same song as well")
    options.add_argument("--device", choices=("mps", "cpu"), default="mps")
    options.add_argument("--exits", type=int, default=25)
    asked = options.parse_args()
    say(f"MLX {version('mlx')} on {asked.device}, {platform.platform()}, {platform.machine()}")
    held = numbers_hold(asked.device)
    show_speed(asked.checkpoint, "mlx", asked.device, asked.bits, asked.seconds)
    if asked.torch:
        show_speed(asked.checkpoint, "torch", asked.device, None, asked.seconds)
    return 0 if exits_hold(asked.exits, asked.device) and held else 1


if __name__ == "__main__":
    sys.exit(main())
