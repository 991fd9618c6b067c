"""Adapters in the torch DiT, put around the linear layers and taken away again.

The weights of the base are never changed, so that taking the adapters away restores it bit for bit. The layers are our
own and not peft's, which has no LoKr with magnitudes, takes the sizes of a LoKr's factors from a rule of its own
instead of from the file, makes whole matrices of them in every step, and does not bring a DoRA back to the base as its
weight falls.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from networks.acestep.lora.adapter import (
    MAGNITUDE,
    Adapter,
    Layer,
    LinearShape,
    check_fit,
    layer_name,
    not_finite,
    unreadable,
)
from networks.acestep.lora.deltas import Addition, Delta, Gain, added, delta_of
from networks.acestep.torch.dit import AtHand, Dit


class AdaptedLinear(nn.Module):
    """A linear layer and what adapters add to it."""

    def __init__(self, base: nn.Linear, additions: Sequence[Addition]) -> None:
        super().__init__()
        self.base = base
        self.additions = tuple(additions)

    def forward(self, states: Tensor) -> Tensor:
        """The layer's output `(..., out)` with the adapters' added."""
        output: Tensor = added(self.base, self.base.bias, states, self.additions)
        return output


def apply_adapters(dit: Dit, adapters: Sequence[Adapter], at_hand: AtHand = nullcontext) -> Generator[None, None, None]:
    """Run the DiT with these adapters and no others, each by its weight; a step after each layer that was read.

    Adapters of weight 0 are left out: with them the DiT is its base, bit for bit. Every file is checked and read before
    the DiT is touched. Raises AdapterError for one that does not fit or cannot be read.
    """
    linears = {layer_name(path): (path, linear) for path, linear in _linears(dit)}
    shapes: dict[str, LinearShape] = {
        name: (each.out_features, each.in_features) for name, (_, each) in linears.items()
    }
    for adapter in adapters:
        check_fit(adapter, shapes)
    additions: dict[str, list[Addition]] = {}
    for adapter in adapters:
        if adapter.weight > 0:
            for layer, parts in _parts(adapter, dit.device):
                linear = linears[layer.name][1]
                with at_hand(linear), torch.no_grad():
                    addition = _addition(layer, parts, linear.weight, adapter.weight)
                additions.setdefault(layer.name, []).append(addition)
                yield
    for name, (path, linear) in linears.items():
        dit.set_submodule(path, AdaptedLinear(linear, additions[name]) if name in additions else linear)


def _linears(dit: Dit) -> Iterator[tuple[str, nn.Linear]]:
    """The DiT's linear layers by their paths without adapters: a wrapped one stands for its base."""
    for path, module in dit.named_modules():
        if isinstance(module, nn.Linear):
            yield path.removesuffix(".base"), module


def _parts(adapter: Adapter, device: torch.device) -> Iterator[tuple[Layer, dict[str, Tensor]]]:
    """The tensors of each layer by their own names, in float32 on a device."""
    try:
        with safe_open(adapter.path, framework="pt") as file:
            for layer in adapter.layers:
                parts = {part: file.get_tensor(key).float().to(device) for part, key in layer.keys.items()}
                if not all(part.isfinite().all() for part in parts.values()):
                    raise not_finite(adapter, layer)
                yield layer, parts
    except (OSError, SafetensorError) as broken:
        raise unreadable(adapter, broken) from broken


def _addition(layer: Layer, parts: dict[str, Tensor], base: Tensor, factor: float) -> Addition:
    """What a layer's adapter adds by the weight `factor`, in the number format of the base's weight."""

    def cast(array: Tensor) -> Tensor:
        return array.to(base)

    delta = delta_of(layer, parts)
    gain = None
    if layer.magnitude_of is not None:
        ratio = parts[MAGNITUDE].flatten() / _norm(delta, base, 0 if layer.magnitude_of == "outputs" else 1)
        gain = Gain(cast(ratio), cast(ratio - 1), layer.magnitude_of)
    return Addition(delta.cast(cast), factor, gain)


def _norm(delta: Delta, base: Tensor, axis: int) -> Tensor:
    """The norms of the changed weight `(in, out)` along an axis; never 0, which would make infinities of silence."""
    changed: Tensor = delta.matrix()
    changed += base.T
    return torch.linalg.vector_norm(changed, dim=axis).clamp_min(torch.finfo(changed.dtype).eps)
