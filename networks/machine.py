"""The machine that networks run on: frameworks, devices, number formats and memory. Loads no framework."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Literal, get_args

from networks import mlx_thread

RuntimeName = Literal["torch", "mlx"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
DeviceKind = Literal["cpu", "mps", "cuda"]
DType = Literal["float32", "float16", "bfloat16"]

Bits = Literal[8, 4]
"""Of a weight in a quantised matrix. Eight change a velocity by about 1 %, four, an experiment, by 15 %."""

Offload = Literal["none", "parts", "layers"]
"""What of a song's weights waits in the host's memory: nothing, the parts that are not at work, or of the DiT also the
layers that are not."""

GROUP_SIZE = 64
"""Weights of a quantised matrix that share a scale and an offset of 16 bits each."""

CPU_FLAGS = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
"""Names that Linux gives to such units: two of x86, one of Arm."""

ON_ZERO_GPU = bool(os.environ.get("SPACES_ZERO_GPU"))
"""Whether this is a Space that leases its GPU to one job at a time."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How the networks are to run, as the studio was started; None chooses for the machine.

    `memory_gb` is what they may take of the device's memory at the most; None allows all that is free.
    """

    runtime: RuntimeName | None = None
    device: str | None = None
    dtype: DType | None = None
    bits: Bits | None = None
    offload: Offload | None = None
    memory_gb: float | None = None

    @property
    def chosen(self) -> Choice:
        """The runtime asked for, or the machine's default."""
        return Choice(self.runtime) if self.runtime else default_runtime(self.device)


@dataclass(frozen=True)
class Choice:
    """A runtime; `note` is the reason where it is not the machine's usual one, else empty."""

    runtime: RuntimeName
    note: str = ""


@cache
def default_runtime(device: str | None = None) -> Choice:
    """MLX on Apple silicon, where it is faster than torch and holds larger models, as long as it can be imported.

    On another `device` than Apple's GPU torch is the faster of the two.
    """
    if not _is_apple_silicon() or device not in (None, "mps"):
        return Choice("torch")
    try:
        import_mlx()
    except ImportError as missing:
        return Choice("torch", f"PyTorch's MPS instead of MLX, which cannot be used here: {missing}")
    return Choice("mlx")


def import_mlx() -> None:
    """Import MLX and mlx-lm in their thread. Raises ImportError."""
    for name in ("mlx.core", "mlx_lm"):
        mlx_thread.run(import_module, name)


def likely_device() -> DeviceKind:
    """The kind of device that a runtime will choose on this machine, found without loading a framework."""
    if ON_ZERO_GPU or shutil.which("nvidia-smi"):
        return "cuda"
    return "mps" if _is_apple_silicon() else "cpu"


@cache
def has_bfloat16_units() -> bool:
    """Whether the processor multiplies bfloat16 by itself, by the flags that Linux lists; elsewhere nobody can tell."""
    try:
        lines = CPU_FLAGS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return not BFLOAT16_FLAGS.isdisjoint(flags.split())


def process_peak_gb() -> float:
    """The most memory in GB that this process ever held."""
    # macOS counts in bytes, other systems in kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if platform.system() == "Darwin" else 1e6)


def host_free_gb() -> float:
    """The memory in GB that this machine can still give, what it would drop for that included; infinite if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")  # macOS swaps and compresses before anything fails
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 / 1e9 if found else float("inf")


def return_free_memory() -> None:
    """Return to the system what was freed and the allocator keeps; nothing where it cannot be told to.

    glibc has a heap for each of several threads and gives back only its end, so that one small object at the end keeps
    all that lay before it: after many jobs, each in a thread of its own, that is a tenth of the process.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _is_apple_silicon() -> bool:
    return (platform.system(), platform.machine()) == ("Darwin", "arm64")
