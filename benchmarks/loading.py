"""The memory that loading alone takes: `.venv/bin/python benchmarks/loading.py --models /tmp/models 2b-turbo --remove`.

Random weights are made where none lie (see random_weights.py). Then a process opens them as a job does, reads each of
their numbers once, so that no file is only mapped, and renders nothing.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.random_weights import NAMES, make
from networks.machine import DType

CHILD = "from benchmarks.loading import loaded; import sys; loaded(*sys.argv[1:])"


def held_gb(what: str) -> float:
    """The process's memory in GB, where the system tells it: the most so far (VmHWM), or what it holds now (VmRSS)."""
    told = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(told[1]) * 1024 / 1e9 if told else float("nan")


def loaded(name: str, dtype: DType) -> None:
    """Open a checkpoint, read every number of it, and print a row of the table."""
    import torch

    from checkpoints import find
    from networks.acestep.open import open_runtime

    place = find.checkpoint(name)
    before = held_gb("VmRSS")
    runtime: Any = open_runtime(place.folder, place.companion, runtime="torch", device="cpu", dtype=dtype)
    opened = held_gb("VmHWM")
    tensors = {
        each.data_ptr(): each for each in gc.get_objects() if issubclass(type(each), torch.Tensor) and each.numel()
    }
    for each in tensors.values():
        each.sum()
    weights, most = sum(each.nbytes for each in tensors.values()) / 1e9, held_gb("VmHWM")
    cells = [name, dtype, *(f"{gb:.2f}" for gb in (weights, before, opened, most, most - weights))]
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    runtime.close()


def main() -> int:
    """0 when every checkpoint was opened."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("names", nargs="+", choices=NAMES)
    options.add_argument("--models", type=Path, required=True, help="where the weights lie, or shall lie")
    options.add_argument("--dtype", default="bfloat16")
    options.add_argument("--remove", action="store_true", help="remove the weights that were made")
    asked = options.parse_args()
    sys.stdout.write("| checkpoint | dtype | weights GB | Python GB | opened GB | most GB | over the weights GB |\n")
    sys.stdout.write("|---|---|---|---|---|---|---|\n")
    sys.stdout.flush()
    for name in asked.names:
        there = (asked.models / name).exists()
        asked.models.mkdir(parents=True, exist_ok=True)
        folder = make(name, asked.models, "cpu")
        environment = {**os.environ, "ACE_MODELS_DIR": str(asked.models), "HF_HUB_OFFLINE": "1"}
        subprocess.run(
            [sys.executable, "-c", CHILD, name, asked.dtype],
            cwd=Path(__file__).parent.parent,
            env=environment,
            check=True,
        )
        if asked.remove and not there:
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
