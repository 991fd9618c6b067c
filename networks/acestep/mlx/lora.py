"""LoRA layers in the MLX DiT, put around the linear layers and taken away again.

The weights of the base are never changed, so that taking the adapters away restores it bit for bit; and a base that
is quantised keeps its adapters in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from safetensors import SafetensorError

from networks.acestep.lora.adapter import Adapter, LinearShape, check_fit, layer_name, not_finite, unreadable
from networks.acestep.mlx.dit import Dit
from networks.acestep.mlx.weights import load_safetensors

LoraPair = tuple[mx.array, mx.array]
"""Down `(in, rank)`, up `(rank, out)`, each ready to be multiplied from the right, the factor in the latter."""


class LoraLinear(nn.Module):
    """A linear layer and what adapters add to it."""

    def __init__(self, base: nn.Module, pairs: Sequence[LoraPair]) -> None:
        super().__init__()
        self.base = base
        self.pairs = [list(pair) for pair in pairs]

    def __call__(self, states: mx.array) -> mx.array:
        """The layer's output `(..., out)` with the adapters' added."""
        output: mx.array = self.base(states)
        for down, up in self.pairs:
            output = output + (states @ down) @ up
        return output


class AdaptedDit:
    """A DiT whose adapters can be changed. Made before the DiT is quantised, which hides the layers' shapes."""

    def __init__(self, dit: Dit) -> None:
        self._dit = dit
        linears = [(path, module) for path, module in dit.named_modules() if isinstance(module, nn.Linear)]
        self._paths = {layer_name(path): path for path, _ in linears}
        self._shapes: dict[str, LinearShape] = {layer_name(path): _shape(linear) for path, linear in linears}
        self._bases: dict[str, nn.Module] = {}

    def apply(self, adapters: Sequence[Adapter]) -> None:
        """Run the DiT with these adapters and no others, each by its weight.

        Adapters of weight 0 are left out: with them the DiT is its base, bit for bit. Every file is checked and read
        before the DiT is touched. Raises AdapterError for one that does not fit or cannot be read.
        """
        for adapter in adapters:
            check_fit(adapter, self._shapes)
        pairs: dict[str, list[LoraPair]] = {}
        for adapter in adapters:
            if adapter.weight > 0:
                for name, pair in _matrices(adapter, self._dit.norm_out.weight.dtype).items():
                    pairs.setdefault(self._paths[name], []).append(pair)
        self._replace(self._bases)
        modules = dict(self._dit.named_modules())
        self._bases = {path: modules[path] for path in pairs}
        self._replace({path: LoraLinear(modules[path], added) for path, added in pairs.items()})

    def _replace(self, modules: Mapping[str, nn.Module]) -> None:
        self._dit.update_modules(tree_unflatten(list(modules.items())))


def _shape(linear: nn.Linear) -> LinearShape:
    out, into = linear.weight.shape
    return out, into


def _matrices(adapter: Adapter, dtype: mx.Dtype) -> dict[str, LoraPair]:
    """The adapter's matrices by layer name in the type of the DiT; its factor and its weight are multiplied into up."""
    try:
        tensors = load_safetensors(adapter.path)
        found: dict[str, LoraPair] = {}
        for layer in adapter.layers:
            down, up = (tensors[key].astype(mx.float32) for key in (layer.down, layer.up))
            if not (mx.isfinite(down).all() and mx.isfinite(up).all()):
                raise not_finite(adapter, layer)
            up = up * (layer.scale * adapter.weight)
            found[layer.name] = (down.T.astype(dtype), up.T.astype(dtype))
        mx.eval(list(found.values()))
    except (OSError, SafetensorError, RuntimeError) as broken:
        raise unreadable(adapter, broken) from broken
    return found
