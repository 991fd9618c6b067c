"""The key-value cache of a language model on torch, and its forward pass; on CUDA a step is one captured graph.

A step of one token is hundreds of small kernels, and Python takes longer to launch them than the device to run them.
A CUDA graph launches them all at once. It needs every tensor at a fixed address, so attention there goes over the
whole cache, filled or not; elsewhere it goes over what is filled.
"""

from __future__ import annotations

import logging
from functools import cache
from inspect import signature

import torch
from torch import Tensor, nn

HEADROOM = 512
"""Tokens for which there is room behind a prompt at first; a full cache doubles."""

log = logging.getLogger(__name__)


class KvCache:
    """The keys and values of a batch of texts, padded at their left; reads tokens and appends theirs.

    `pads` `(B,)` is the padding of each row. Passes for a cache of transformers as far as its decoders ask. A `static`
    cache keeps its tensors at their addresses until it grows.
    """

    def __init__(self, body: nn.Module, pads: Tensor, capacity: int, *, static: bool) -> None:
        self.body = body
        self.pads = pads
        self.capacity = capacity + HEADROOM
        self.length = 0
        self.static = static
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._write_at = torch.zeros(1, dtype=torch.int64, device=pads.device)
        self._step: _DecodingStep | None = None
        self._keyword = _cache_keyword(body)

    def read(self, ids: Tensor) -> Tensor:
        """The last states `(B, D)`, which predict the token behind the ids `(B, n)`; the cache grows by n tokens."""
        stop = self.length + ids.shape[1]
        if stop > self.capacity:
            self._grow(max(2 * self.capacity, stop + HEADROOM))
        if self.static and ids.shape[1] == 1:
            self._step = self._step or _DecodingStep(self)
            states = self._step.read(ids)
        else:
            self._write_at = torch.arange(self.length, stop, device=ids.device)
            states = self.forward(ids, self._mask(stop), self._positions(stop))
        self.length = stop
        return states

    def forward(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """The last states `(B, D)` of one pass of the decoder over `ids` `(B, n)`."""
        # A mask by layer type is taken as it is; another would be made into one, and the cache asked for its length.
        output = self.body(
            input_ids=ids,
            attention_mask={"full_attention": mask},
            position_ids=positions,
            use_cache=True,
            **{self._keyword: self},
        )
        states: Tensor = output.last_hidden_state[:, -1]
        return states

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """The keys and values `(B, heads, n, D)` that a layer attends to, those of the tokens it reads now included."""
        if layer == len(self._keys):
            for stored, new in ((self._keys, keys), (self._values, values)):
                stored.append(new.new_zeros(*new.shape[:2], self.capacity, new.shape[3]))
        for stored, new in ((self._keys, keys), (self._values, values)):
            if self.static:
                stored[layer].index_copy_(2, self._write_at, new)
            else:
                stored[layer][:, :, self.length : self.length + new.shape[2]] = new
        filled = self.capacity if self.static else self.length + keys.shape[2]
        return self._keys[layer][:, :, :filled], self._values[layer][:, :, :filled]

    def get_seq_length(self, *_: object) -> int:
        """The number of tokens read."""
        return self.length

    def copy(self) -> KvCache:
        """Another cache of the same tokens."""
        other = KvCache(self.body, self.pads, self.capacity - HEADROOM, static=self.static)
        other.length = self.length
        other._keys = [keys.clone() for keys in self._keys]
        other._values = [values.clone() for values in self._values]
        return other

    def _grow(self, capacity: int) -> None:
        """Make room for so many tokens, and drop the captured step, which used the smaller tensors."""
        self._step = None
        for stored in (self._keys, self._values):
            for layer, old in enumerate(stored):
                stored[layer] = old.new_zeros(*old.shape[:2], capacity, old.shape[3])
                stored[layer][:, :, : self.capacity] = old
        self.capacity = capacity

    def _mask(self, stop: int) -> Tensor:
        """Whether each new token up to `stop` attends to each slot of the cache: `(B, 1, n, slots)`.

        A token attends to itself and what stands before it, but not to the padding. Tokens of the padding attend to
        themselves, for attention over nothing is not a number.
        """
        queries = torch.arange(self.length, stop, device=self.pads.device)[None, :, None]
        keys = torch.arange(self.capacity if self.static else stop, device=self.pads.device)[None, None, :]
        mask = (keys <= queries) & ((keys >= self.pads[:, None, None]) | (keys == queries))
        return mask[:, None]

    def _positions(self, stop: int) -> Tensor:
        """The position `(B, n)` of each new token up to `stop` in its own row, the padding left out."""
        return (torch.arange(self.length, stop, device=self.pads.device)[None] - self.pads[:, None]).clamp(min=0)


def _cache_keyword(decoder: nn.Module) -> str:
    """The name under which a decoder takes its cache: one or the other, by the version of transformers."""
    return "cache" if "cache" in signature(decoder.forward).parameters else "past_key_values"


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream in which steps are captured: one for all, since cuBLAS keeps 32 MB for each that it saw."""
    return torch.cuda.Stream(device)


class _DecodingStep:
    """A pass over one token, its tensors at fixed addresses; captured as a graph where there is CUDA."""

    def __init__(self, cache: KvCache) -> None:
        self.cache = cache
        stop = cache.length + 1
        self.write_at = cache._write_at = torch.tensor([cache.length], device=cache.pads.device)
        self.ids = torch.zeros(len(cache.pads), 1, dtype=torch.int64, device=cache.pads.device)
        self.mask = cache._mask(stop)
        self.positions = cache._positions(stop)
        self._graph: torch.cuda.CUDAGraph | None = None
        if cache.pads.device.type == "cuda":
            self._capture()

    def read(self, ids: Tensor) -> Tensor:
        """The last states `(B, D)` after the token ids `(B, 1)`."""
        cache, stop = self.cache, self.cache.length + 1
        cache._write_at = self.write_at.fill_(cache.length)
        self.ids.copy_(ids)
        self.mask.copy_(cache._mask(stop))
        self.positions.copy_(cache._positions(stop))
        if self._graph is None:
            return self._forward()
        self._graph.replay()
        return self._states.clone()

    def _forward(self) -> Tensor:
        return self.cache.forward(self.ids, self.mask, self.positions)

    def _capture(self) -> None:
        """Capture the pass as a graph; where the device refuses, passes are launched kernel by kernel, only slower."""
        try:
            stream = _capture_stream(self.ids.device)
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # what a first run loads and chooses must not be part of the graph
                for _ in range(2):
                    self._forward()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                self._states = self._forward()
            self._graph = graph
        except RuntimeError as refused:
            log.warning("decoding without a CUDA graph, which is slower: %s", refused)
