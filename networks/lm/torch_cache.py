"""What a language model on torch remembers of a text, and how it reads on; on CUDA a step is one captured graph.

A step of one token is hundreds of small kernels, and Python takes longer to launch them than the device to run them.
A CUDA graph launches them all at once. It needs every tensor to keep its place, so attention there goes over the
whole memory, filled or not; elsewhere it goes over what is filled.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

SLACK = 512
"""Tokens for which there is room behind a prompt at first; when it is full the memory doubles."""

log = logging.getLogger(__name__)


class Memory:
    """The keys and values of a batch of texts, padded at their left; reads tokens and remembers them.

    `pads` `(B,)` is the padding of each row. Passes for a cache of transformers as far as its decoders ask.
    """

    def __init__(self, body: nn.Module, pads: Tensor, room: int, *, fixed: bool) -> None:
        self.body = body
        self.pads = pads
        self.room = room + SLACK
        self.length = 0
        self.fixed = fixed
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._at = torch.zeros(1, dtype=torch.int64, device=pads.device)
        self._step: _Step | None = None

    def read(self, ids: Tensor) -> Tensor:
        """The states `(B, D)` that tell what follows the ids `(B, n)`, which are remembered."""
        stop = self.length + ids.shape[1]
        if stop > self.room:
            self._grow(max(2 * self.room, stop + SLACK))
        if self.fixed and ids.shape[1] == 1:
            self._step = self._step or _Step(self)
            states = self._step.read(ids)
        else:
            self._at = torch.arange(self.length, stop, device=ids.device)
            states = self.look(ids, self._seen(stop), self._places(stop))
        self.length = stop
        return states

    def look(self, ids: Tensor, seen: Tensor, places: Tensor) -> Tensor:
        """The last states `(B, D)` of one pass of the decoder; `seen` is its mask, `places` the ids' positions."""
        # A mask by layer type is taken as it is; another would be made into one, and the memory asked for its length.
        told = self.body(
            input_ids=ids,
            attention_mask={"full_attention": seen},
            position_ids=places,
            past_key_values=self,
            use_cache=True,
        )
        states: Tensor = told.last_hidden_state[:, -1]
        return states

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """The keys and values that a layer attends to, those of the tokens it reads now among them."""
        if layer == len(self._keys):
            for stored, new in ((self._keys, keys), (self._values, values)):
                stored.append(new.new_zeros(*new.shape[:2], self.room, new.shape[3]))
        for stored, new in ((self._keys, keys), (self._values, values)):
            if self.fixed:
                stored[layer].index_copy_(2, self._at, new)
            else:
                stored[layer][:, :, self.length : self.length + new.shape[2]] = new
        filled = self.room if self.fixed else self.length + keys.shape[2]
        return self._keys[layer][:, :, :filled], self._values[layer][:, :, :filled]

    def get_seq_length(self, *_: object) -> int:
        """How many tokens were read."""
        return self.length

    def copy(self) -> Memory:
        """Another memory of the same."""
        twin = Memory(self.body, self.pads, self.room - SLACK, fixed=self.fixed)
        twin.length = self.length
        twin._keys = [keys.clone() for keys in self._keys]
        twin._values = [values.clone() for values in self._values]
        return twin

    def _grow(self, room: int) -> None:
        """Nothing; there is room for so many tokens, and a captured step, whose memory this was, is forgotten."""
        self._step = None
        for stored in (self._keys, self._values):
            for layer, old in enumerate(stored):
                stored[layer] = old.new_zeros(*old.shape[:2], room, old.shape[3])
                stored[layer][:, :, : self.room] = old
        self.room = room

    def _seen(self, stop: int) -> Tensor:
        """Whether each token up to `stop` sees each place of the memory: `(B, 1, n, places)`.

        A token sees itself and what stands before it, but not the padding. Tokens of the padding see themselves, for
        attention over nothing is not a number.
        """
        queries = torch.arange(self.length, stop, device=self.pads.device)[None, :, None]
        keys = torch.arange(self.room if self.fixed else stop, device=self.pads.device)[None, None, :]
        seen = (keys <= queries) & ((keys >= self.pads[:, None, None]) | (keys == queries))
        return seen[:, None]

    def _places(self, stop: int) -> Tensor:
        """The position `(B, n)` of each token up to `stop` in its own row, the padding left out."""
        return (torch.arange(self.length, stop, device=self.pads.device)[None] - self.pads[:, None]).clamp(min=0)


class _Step:
    """One step of one token, its tensors in fixed places; captured as a graph where there is CUDA."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        stop = memory.length + 1
        self.at = memory._at = torch.tensor([memory.length], device=memory.pads.device)
        self.ids = torch.zeros(len(memory.pads), 1, dtype=torch.int64, device=memory.pads.device)
        self.seen = memory._seen(stop)
        self.places = memory._places(stop)
        self._graph: torch.cuda.CUDAGraph | None = None
        if memory.pads.device.type == "cuda":
            self._capture()

    def read(self, ids: Tensor) -> Tensor:
        """See Memory.read."""
        memory, stop = self.memory, self.memory.length + 1
        memory._at = self.at.fill_(memory.length)
        self.ids.copy_(ids)
        self.seen.copy_(memory._seen(stop))
        self.places.copy_(memory._places(stop))
        if self._graph is None:
            return self._look()
        self._graph.replay()
        return self._states.clone()

    def _look(self) -> Tensor:
        return self.memory.look(self.ids, self.seen, self.places)

    def _capture(self) -> None:
        """Nothing; the step is a graph, or stays as it is where the device refuses, which is only slower."""
        try:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):  # what is loaded and chosen by a first run must not be part of the graph
                for _ in range(2):
                    self._look()
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._states = self._look()
            self._graph = graph
        except RuntimeError as refused:
            log.warning("decoding without a CUDA graph, which is slower: %s", refused)
