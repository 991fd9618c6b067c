"""What adapters add to a linear layer, in the arithmetic that torch's tensors and MLX's arrays share.

Matrices stand ready to be multiplied from the right, `(in, out)`. No kind ever adds a whole matrix to the weights it is
for: a Kronecker product is multiplied factor by factor, and what must be whole is whole for one layer at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from networks.acestep.lora.adapter import Layer, Side

Array = Any
"""A tensor of torch or an array of MLX."""

Cast = Callable[[Array], Array]
"""Brings an array into the number format in which it is used."""


class Delta(Protocol):
    """A matrix `(in, out)` by which states are multiplied, kept in fewer numbers than it has."""

    def __call__(self, states: Array) -> Array:
        """States `(..., in)` times the matrix: `(..., out)`."""
        ...

    def matrix(self) -> Array:
        """The whole matrix `(in, out)`."""
        ...

    def cast(self, cast: Cast) -> Delta:
        """The same in another number format."""
        ...


@dataclass(frozen=True)
class LowRank:
    """LoRA: `down` `(in, rank)` times `up` `(rank, out)`."""

    down: Array
    up: Array

    def __call__(self, states: Array) -> Array:
        """States `(..., in)` times the matrix: `(..., out)`."""
        return (states @ self.down) @ self.up

    def matrix(self) -> Array:
        """The whole matrix `(in, out)`."""
        return self.down @ self.up

    def cast(self, cast: Cast) -> LowRank:
        """The same in another number format."""
        return LowRank(cast(self.down), cast(self.up))


@dataclass(frozen=True)
class Kronecker:
    """LoKr: the Kronecker product of `outer` and `inner`, the latter whole or in two factors."""

    outer: Array
    inner: tuple[Array, ...]

    def __call__(self, states: Array) -> Array:
        """States `(..., in)` times the matrix: `(..., out)`."""
        *rows, into = states.shape
        blocks = states.reshape(*rows, self.outer.shape[0], into // self.outer.shape[0])
        for factor in self.inner:
            blocks = blocks @ factor
        mixed = (blocks.swapaxes(-1, -2) @ self.outer).swapaxes(-1, -2)
        return mixed.reshape(*rows, mixed.shape[-2] * mixed.shape[-1])

    def matrix(self) -> Array:
        """The whole matrix `(in, out)`."""
        first, *rest = self.inner
        inner = first @ rest[0] if rest else first
        (high, wide), (low, narrow) = self.outer.shape, inner.shape
        blocks = self.outer.reshape(high, 1, wide, 1) * inner.reshape(1, low, 1, narrow)
        return blocks.reshape(high * low, wide * narrow)

    def cast(self, cast: Cast) -> Kronecker:
        """The same in another number format."""
        return Kronecker(cast(self.outer), tuple(map(cast, self.inner)))


@dataclass(frozen=True)
class Hadamard:
    """LoHa: two low-rank matrices multiplied number by number; there is no shorter way to multiply states by it."""

    first: LowRank
    second: LowRank

    def __call__(self, states: Array) -> Array:
        """States `(..., in)` times the matrix: `(..., out)`."""
        return states @ self.matrix()

    def matrix(self) -> Array:
        """The whole matrix `(in, out)`."""
        return self.first.matrix() * self.second.matrix()

    def cast(self, cast: Cast) -> Hadamard:
        """The same in another number format."""
        return Hadamard(self.first.cast(cast), self.second.cast(cast))


def delta_of(layer: Layer, parts: Mapping[str, Array]) -> Delta:
    """The delta of a layer whose matrices, by the names of `Layer.keys`, are `parts`; the layer's factor is in it."""
    if layer.form == "LoKr":
        outer = parts["lokr_w1"] if "lokr_w1" in parts else parts["lokr_w1_a"] @ parts["lokr_w1_b"]
        inner = (parts["lokr_w2"],) if "lokr_w2" in parts else (parts["lokr_w2_b"], parts["lokr_w2_a"])
        return Kronecker((outer * layer.scale).T, tuple(factor.T for factor in inner))
    if layer.form == "LoHa":
        first = LowRank(parts["hada_w1_b"].T, (parts["hada_w1_a"] * layer.scale).T)
        return Hadamard(first, LowRank(parts["hada_w2_b"].T, parts["hada_w2_a"].T))
    return LowRank(parts["down"].T, (parts["up"] * layer.scale).T)


# ---- in a layer ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gain:
    """What DoRA multiplies a changed weight with: its magnitude over its norm, for each output or each input.

    `excess` is the gain less 1, taken while the numbers are exact: what is close to 0 keeps its digits in any format.
    """

    gain: Array
    excess: Array
    side: Side


@dataclass(frozen=True)
class Addition:
    """What one adapter adds to one layer: by its weight, the difference between the layer it makes and the base.

    With a gain (DoRA, arXiv 2402.09353) the layer it makes is `gain * (base + delta)`. The norm is that of the whole
    adapter on the base alone, whatever its weight and whatever else is added: weights stay linear, and 0 is the base.
    """

    delta: Delta
    weight: float
    gain: Gain | None = None


def added(base: Callable[[Array], Array], bias: Array | None, states: Array, additions: Sequence[Addition]) -> Array:
    """The output of the linear layer `base`, whose bias is `bias`, with what adapters add to it."""

    def unbiased(output: Array) -> Array:
        return output if bias is None else output - bias

    result = base(states)
    output = result
    for each in additions:
        if each.gain is None:
            more = each.delta(states)
        elif each.gain.side == "outputs":
            more = unbiased(result) * each.gain.excess + each.delta(states) * each.gain.gain
        else:
            more = unbiased(base(states * each.gain.excess)) + each.delta(states * each.gain.gain)
        output = output + more * each.weight
    return output
