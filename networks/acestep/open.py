"""From a checkpoint's folder to a runtime with its weights loaded."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from core.errors import StudioError
from core.steps import aside, finished, importing
from networks.acestep.runtime import Runtime
from networks.machine import Bits, DType, Offload, RuntimeName, default_runtime, import_mlx


def open_runtime(
    folder: Path,
    companion: Path | None = None,
    *,
    vae: Path | None = None,
    runtime: RuntimeName | None = None,
    device: str | None = None,
    dtype: DType | None = None,
    bits: Bits | None = None,
    offload: Offload = "none",
) -> Runtime:
    """As `opening`, at once."""
    return finished(
        opening(
            folder,
            companion,
            vae=vae,
            runtime=runtime,
            device=device,
            dtype=dtype,
            bits=bits,
            offload=offload,
        )
    )


def opening(
    folder: Path,
    companion: Path | None = None,
    *,
    vae: Path | None = None,
    runtime: RuntimeName | None = None,
    device: str | None = None,
    dtype: DType | None = None,
    bits: Bits | None = None,
    offload: Offload = "none",
) -> Generator[None, None, Runtime]:
    """Load the checkpoint in `folder`, of either layout, into a runtime, with steps between which it can be closed.

    `companion` holds the VAE and the text encoder of a checkpoint in upstream's original layout; `vae` is the folder of
    a VAE to use instead. None chooses for the machine; `bits` quantises the DiT's layers, which only MLX can do, and
    `offload` keeps weights in the host's memory, which only torch does. Raises
    CheckpointError naming every tensor that is missing, left over or misshapen, and StudioError for a runtime or device
    that the machine lacks.
    """
    if (runtime or default_runtime(device).runtime) == "mlx":
        try:
            yield from aside(import_mlx)
        except ImportError as missing:
            raise StudioError(f"MLX cannot be used here: {missing}.", "Choose the runtime torch.") from missing
        if offload != "none":
            raise StudioError(
                "MLX shares its memory with the host: offloading frees none.",
                "Leave --offload away, or choose --bits 8.",
            )
        yield from importing(f"{__package__}.mlx.runtime")
        from networks.acestep.mlx import runtime as mlx

        return (yield from mlx.opening(folder, companion, vae=vae, device=device, dtype=dtype, bits=bits))
    if bits is not None:
        raise StudioError("Quantised layers need the runtime mlx.", "Leave --bits away, or choose --runtime mlx.")
    yield from importing(f"{__package__}.torch.runtime")
    from networks.acestep.torch import runtime as torch_runtime

    return (yield from torch_runtime.opening(folder, companion, vae=vae, device=device, dtype=dtype, offload=offload))
