"""Weights that lie in the host's memory, of which the device holds what is at work.

accelerate's hooks move weights when a module's `forward` is called. Here half of the calls are others (`tokenize`,
`encode`, the projections whose keys and values are cached, the embeddings of lyrics), and its weights are on the meta
device in between, where neither an adapter nor a cache can read them. So the runtime says itself what is at work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from networks.torch_device import empty_cache


class Offloaded:
    """Parts of a checkpoint whose weights are on the device only while they are used.

    Weights that are away are empty: whoever forgets to bring them gets an error and no wrong number. What a part holds
    itself, beside its submodules, stays on the device: the silence, the learned absence of a condition. The host's copy
    is kept all the time, so that nothing is ever copied back.
    """

    def __init__(self, parts: Iterable[nn.Module], device: torch.device, streamed: Iterable[nn.Module] = ()) -> None:
        """Send away the weights of the parts; the `streamed` modules among them stay away when their part is used."""
        self._device = device
        self._away: dict[int, tuple[Tensor, Tensor]] = {}
        self._streamed = {id(tensor) for module in streamed for tensor in _tensors(module)}
        self._at_work: nn.Module | None = None
        self._there: list[tuple[Tensor, Tensor]] = []
        for part in parts:
            own = {id(tensor) for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False))}
            for tensor in _tensors(part):
                if id(tensor) in own:
                    tensor.data = tensor.data.to(device)
                else:
                    self._send([(tensor, self._kept(tensor))])

    def _kept(self, tensor: Tensor) -> Tensor:
        """The host's copy; of what passes through in every step in pages that a GPU reads by itself."""
        host = tensor.data.cpu()
        return host.pin_memory() if id(tensor) in self._streamed and self._device.type == "cuda" else host

    def use(self, part: nn.Module) -> None:
        """Bring a part, which stays until another is used."""
        if part is not self._at_work:
            self.rest()
            empty_cache(self._device)  # pieces of what was there would lie where the next part wants to
            self._there = self._bring(tensor for tensor in _tensors(part) if id(tensor) not in self._streamed)
            self._at_work = part

    @contextmanager
    def at_hand(self, module: nn.Module) -> Iterator[None]:
        """A stretch of code in which a module's weights are there, whether or not its part is used."""
        brought = self._bring(_tensors(module))
        try:
            yield
        finally:
            self._send(brought)

    def rest(self) -> None:
        """Take from the device what is there."""
        self._send(self._there)
        self._there, self._at_work = [], None

    def _bring(self, tensors: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Bring those of the tensors that are away; returns them with the host's copies."""
        brought = [self._away.pop(id(tensor)) for tensor in tensors if id(tensor) in self._away]
        for tensor, host in brought:
            tensor.data = host.to(self._device, non_blocking=True)
        return brought

    def _send(self, tensors: list[tuple[Tensor, Tensor]]) -> None:
        for tensor, host in tensors:
            tensor.data = host.new_empty(0)
            self._away[id(tensor)] = (tensor, host)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
