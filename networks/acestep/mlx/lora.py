"""Adapters in the MLX DiT, put around the linear layers and taken away again.

The weights of the base are never changed, so that taking the adapters away restores it bit for bit; and a base that
is quantised keeps its adapters in full.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from safetensors import SafetensorError

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
from networks.acestep.mlx.dit import Dit
from networks.acestep.mlx.weights import load_safetensors


class AdaptedLinear(nn.Module):
    """A linear layer and what adapters add to it."""

    def __init__(self, base: nn.Module, additions: Sequence[Addition]) -> None:
        super().__init__()
        self.base = base
        self.additions = tuple(additions)

    def __call__(self, states: mx.array) -> mx.array:
        """The layer's output `(..., out)` with the adapters' added."""
        output: mx.array = added(self.base, self.base.get("bias"), states, self.additions)
        return output


class AdaptedDit:
    """A DiT whose adapters can be changed. Made before the DiT is quantised, which hides the layers' shapes."""

    def __init__(self, dit: Dit) -> None:
        self._dit = dit
        linears = [(path, module) for path, module in dit.named_modules() if isinstance(module, nn.Linear)]
        self._paths = {layer_name(path): path for path, _ in linears}
        self._shapes: dict[str, LinearShape] = {layer_name(path): _shape(linear) for path, linear in linears}
        self._bases: dict[str, nn.Module] = {}

    def applying(self, adapters: Sequence[Adapter]) -> Generator[None, None, None]:
        """Run the DiT with these adapters and no others, each by its weight; a step after each layer that was read.

        Adapters of weight 0 are left out: with them the DiT is its base, bit for bit. Every file is checked and read
        before the DiT is touched. Raises AdapterError for one that does not fit or cannot be read.
        """
        for adapter in adapters:
            check_fit(adapter, self._shapes)
        bases = dict(self._dit.named_modules()) | self._bases
        dtype = self._dit.norm_out.weight.dtype
        additions: dict[str, list[Addition]] = {}
        for adapter in adapters:
            if adapter.weight > 0:
                for layer, parts in _parts(adapter):
                    path = self._paths[layer.name]
                    additions.setdefault(path, []).append(_addition(layer, parts, bases[path], adapter.weight, dtype))
                    yield
        self._replace(self._bases)
        self._bases = {path: bases[path] for path in additions}
        self._replace({path: AdaptedLinear(bases[path], several) for path, several in additions.items()})

    def _replace(self, modules: Mapping[str, nn.Module]) -> None:
        self._dit.update_modules(tree_unflatten(list(modules.items())))


def _shape(linear: nn.Linear) -> LinearShape:
    out, into = linear.weight.shape
    return out, into


def _parts(adapter: Adapter) -> Iterator[tuple[Layer, dict[str, mx.array]]]:
    """The tensors of each layer by their own names, in float32."""
    try:
        tensors = load_safetensors(adapter.path)
        for layer in adapter.layers:
            parts = {part: tensors[key].astype(mx.float32) for part, key in layer.keys.items()}
            if not all(mx.isfinite(part).all() for part in parts.values()):
                raise not_finite(adapter, layer)
            yield layer, parts
    except (OSError, SafetensorError, RuntimeError) as broken:
        raise unreadable(adapter, broken) from broken


def _addition(layer: Layer, parts: dict[str, mx.array], base: nn.Module, factor: float, dtype: mx.Dtype) -> Addition:
    """What a layer's adapter adds by the weight `factor`, in the number format of the DiT, computed."""
    made: list[mx.array] = []

    def cast(array: mx.array) -> mx.array:
        made.append(array.astype(dtype))
        return made[-1]

    delta = delta_of(layer, parts)
    gain = None
    if layer.magnitude_of is not None:
        ratio = parts[MAGNITUDE].flatten() / _norm(delta, base, 0 if layer.magnitude_of == "outputs" else 1)
        gain = Gain(cast(ratio), cast(ratio - 1), layer.magnitude_of)
    addition = Addition(delta.cast(cast), factor, gain)
    mx.eval(made)  # layer by layer, so that no two layers' whole matrices are there at once
    return addition


def _norm(delta: Delta, base: nn.Module, axis: int) -> mx.array:
    """The norms of the changed weight `(in, out)` along an axis; never 0, which would make infinities of silence."""
    changed = delta.matrix() + _weight(base).T
    return mx.maximum(mx.linalg.norm(changed, axis=axis), mx.finfo(changed.dtype).eps)


def _weight(base: nn.Module) -> mx.array:
    """The weight `(out, in)` of a layer in float32, as its quantised numbers stand for it."""
    weight: mx.array = base.weight
    if isinstance(base, nn.QuantizedLinear):
        quantised = base.scales, base.get("biases"), base.group_size, base.bits, base.mode
        weight = mx.dequantize(weight, *quantised)
    return weight.astype(mx.float32)
