"""LoRA layers in the torch DiT: peft's, put beside the linear layers and taken away again.

The weights of the base are never changed, so that taking the adapters away restores it bit for bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from networks.acestep.lora.adapter import Adapter, LinearShape, check_fit, layer_name, not_finite, unreadable
from networks.acestep.torch.dit import Dit


def apply_adapters(dit: Dit, adapters: Sequence[Adapter]) -> None:
    """Run the DiT with these adapters and no others, each by its weight.

    Adapters of weight 0 are left out: with them the DiT is its base, bit for bit. Every file is checked and read before
    the DiT is touched. Raises AdapterError for one that does not fit or cannot be read.
    """
    linears = {layer_name(path): (path, linear) for path, linear in _linears(dit)}
    shapes: dict[str, LinearShape] = {
        name: (each.out_features, each.in_features) for name, (_, each) in linears.items()
    }
    for adapter in adapters:
        check_fit(adapter, shapes)
    active = [adapter for adapter in adapters if adapter.weight > 0]
    like = next(iter(dit.parameters()))
    states = [dict(_matrices(adapter, {name: path for name, (path, _) in linears.items()}, like)) for adapter in active]
    remove_adapters(dit)
    names = [f"adapter_{number}" for number in range(len(active))]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are meant
            for name, state in zip(names, states, strict=True):
                dit.load_lora_adapter(state, prefix=None, adapter_name=name, low_cpu_mem_usage=True)
    except BaseException:
        remove_adapters(dit)
        raise
    if active:
        dit.set_adapters(names, [adapter.weight for adapter in active])
    dit.eval().requires_grad_(False)


def remove_adapters(dit: Dit) -> None:
    """Make the DiT its base again, bit for bit."""
    if getattr(dit, "peft_config", None):
        dit.unload_lora()


def _linears(dit: Dit) -> Iterator[tuple[str, nn.Linear]]:
    """The DiT's linear layers by their paths without adapters: a wrapped one stands for its base."""
    for path, module in dit.named_modules():
        if isinstance(module, nn.Linear) and ".lora_" not in path:
            yield path.removesuffix(".base_layer"), module


def _matrices(adapter: Adapter, paths: dict[str, str], like: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The adapter's matrices by diffusers' keys, in the type and on the device of `like`.

    The factor is multiplied into `up`: diffusers takes alpha to be the rank, whatever the file says.
    """
    try:
        with safe_open(adapter.path, framework="pt") as file:
            for layer in adapter.layers:
                down, up = (file.get_tensor(key).float() for key in (layer.down, layer.up))
                if not (down.isfinite().all() and up.isfinite().all()):
                    raise not_finite(adapter, layer)
                path = paths[layer.name]
                yield f"{path}.lora_A.weight", down.to(like)
                yield f"{path}.lora_B.weight", (up * layer.scale).to(like)
    except (OSError, SafetensorError) as broken:
        raise unreadable(adapter, broken) from broken
