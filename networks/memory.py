"""The memory of a machine's device: what is left of it, what weights take of it, and how little of them will do.

Loads a framework only where a device is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import cast

from core.errors import CheckpointError
from networks.acestep.layouts import VAE, layout_of
from networks.acestep.weights import REPAIR, weight_files
from networks.machine import GROUP_SIZE, DeviceKind, Machine, Offload, host_free_gb

DIT = "transformer"
DIT_LAYERS = f"{DIT}.layers."
OFFLOADS: tuple[Offload, ...] = ("none", "parts", "layers")
"""From the one that is quickest to the one that takes least memory."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Gigabytes of a model's parts, by name; of its DiT, if it has one, all `layers` and the largest `layer` too."""

    parts: Mapping[str, float]
    layers: float = 0.0
    layer: float = 0.0

    @property
    def whole(self) -> float:
        """All of them."""
        return sum(self.parts.values())

    def at_once(self, offload: Offload) -> float:
        """The most that is on the device at a time."""
        if offload == "none":
            return self.whole
        dit = self.parts.get(DIT, 0.0)
        if offload == "layers":
            dit += self.layer - self.layers
        return max(dit, *(size for part, size in self.parts.items() if part != DIT), 0.0)

    def offload(self, room_gb: float) -> Offload:
        """The quickest way to use them in so much room; the most modest one where there is too little for any."""
        fitting = (each for each in OFFLOADS if self.at_once(each) <= room_gb)
        return next(fitting, OFFLOADS[-1])


def weights_of_song(folder: Path, companion: Path | None, vae: Path | None, machine: Machine) -> Weights:
    """What the networks of a song's checkpoint take in the format in which the machine runs them.

    Counted in the headers of their files. Raises CheckpointError for what cannot be read.
    """
    width = _width(machine)
    parts: dict[str, float] = {}
    layers: dict[str, float] = {}
    for bundle in layout_of(folder, companion, vae).bundles:
        for key, shape in _shapes(bundle.files):
            path = bundle.path_of(key)
            if path is None:
                continue
            part = path.partition(".")[0]
            matrix = path.startswith(DIT_LAYERS) and len(shape) == 2
            each = 4.0 if part == VAE else _packed(machine, width) if matrix else width
            size = each * prod(shape) / 1e9
            parts[part] = parts.get(part, 0.0) + size
            if path.startswith(DIT_LAYERS):
                layer = path.removeprefix(DIT_LAYERS).partition(".")[0]
                layers[layer] = layers.get(layer, 0.0) + size
    return Weights(parts=parts, layers=sum(layers.values()), layer=max(layers.values(), default=0.0))


def weights_of_musicgen(folder: Path, machine: Machine) -> Weights:
    """The same of a MusicGen, whose EnCodec is always in 32 bits."""
    width = _width(machine)
    parts: dict[str, float] = {}
    for key, shape in _shapes(tuple(weight_files(folder))):
        part = key.partition(".")[0]
        parts[part] = parts.get(part, 0.0) + (4.0 if part == "audio_encoder" else width) * prod(shape) / 1e9
    return Weights(parts=parts)


def weights_of_language_model(folder: Path, machine: Machine) -> Weights:
    """The same of a language model."""
    width = _width(machine)
    size = sum(width * prod(shape) for _, shape in _shapes(tuple(weight_files(folder))))
    return Weights(parts={"language model": size / 1e9})


def _shapes(files: tuple[Path, ...]) -> Iterator[tuple[str, list[int]]]:
    """The keys and shapes of all tensors in the files."""
    from safetensors import SafetensorError, safe_open

    for file in files:
        try:
            with safe_open(file, framework="numpy") as handle:
                for key in handle.keys():  # noqa: SIM118 - the handle is no mapping
                    yield key, handle.get_slice(key).get_shape()
        except SafetensorError as broken:
            raise CheckpointError(f"{file} cannot be read: {broken}.", REPAIR) from broken


def _width(machine: Machine) -> float:
    """Bytes of a number, the VAE's and packed matrices' apart."""
    dtype = machine.dtype or ("float32" if kind_of(machine) == "cpu" else "float16")
    return 4.0 if dtype == "float32" else 2.0


def _packed(machine: Machine, width: float) -> float:
    """Bytes of a number in a matrix of the DiT's layers: packed, with a scale and an offset for each group."""
    return width if machine.bits is None else machine.bits / 8 + 4 / GROUP_SIZE


def kind_of(machine: Machine) -> DeviceKind:
    """The kind of device that the machine's networks run on."""
    if machine.device is not None:
        return cast(DeviceKind, machine.device.partition(":")[0])
    if machine.chosen.runtime == "mlx":
        from networks import mlx_thread

        return "mps" if mlx_thread.run(_has_metal) else "cpu"
    from networks.torch_device import default_device

    return cast(DeviceKind, default_device())


def free_gb(machine: Machine) -> float:
    """The memory in GB that the machine's device has left. Raises StudioError for a device that is not there."""
    if machine.chosen.runtime == "mlx":
        from networks import mlx_thread

        return mlx_thread.run(_mlx_free_gb)
    from networks import torch_device

    return torch_device.free_gb(torch_device.open_device(machine.device))


def has_its_own(kind: DeviceKind) -> bool:
    """Whether such a device has memory beside the host's, so that what waits in the host's leaves it room."""
    return kind == "cuda"


def _has_metal() -> bool:
    import mlx.core as mx

    return mx.metal.is_available()


def _mlx_free_gb() -> float:
    """The memory that Metal recommends to use and MLX has not taken; on another device that of the host."""
    import mlx.core as mx

    limit = mx.device_info().get("max_recommended_working_set_size")
    return host_free_gb() if limit is None else (int(limit) - mx.get_active_memory()) / 1e9
