"""The DiT's forward pass over many steps: what does not depend on t is computed once.

The modules are diffusers'; the order of their calls is that of `AceStepTransformer1DModel.forward`. Three things
differ: cross-attention keys and values come from the condition, where they were computed once (upstream caches them
too); rotary angles and the window mask are kept between steps; t stays in float32, because bfloat16 rounds
t * 1000 to multiples of four.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from torch import Tensor

Dit = Any
"""diffusers' AceStepTransformer1DModel, whose attributes are known only when it runs."""

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class TorchCondition:
    """Encoded items: the packed states `(1, L, W)` of each, and per item and layer `(1, heads, L, D)` keys, values."""

    states: tuple[Tensor, ...]
    memory: tuple[tuple[KeysValues, ...], ...]

    @property
    def items(self) -> int:
        """The number of items held."""
        return len(self.states)


@dataclass(frozen=True)
class Grid:
    """What a sequence of one length needs in every layer: rotary angles, and the mask of the sliding window.

    The mask is True where a token is seen, and None where the window holds the whole sequence.
    """

    tokens: int
    angles: tuple[Tensor, Tensor]
    window: Tensor | None


class SelfAttention:
    """Attention processor: grouped heads, rotary positions, an optional window."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: None,
        attention_mask: Tensor | None,
        image_rotary_emb: tuple[Tensor, Tensor],
    ) -> Tensor:
        """The attended states `(B, L, W)`; `image_rotary_emb` is the grid's angles."""
        query = _heads(attn.norm_q(attn.to_q(hidden_states).unflatten(-1, (attn.heads, -1))))
        key = _heads(attn.norm_k(attn.to_k(hidden_states).unflatten(-1, (attn.kv_heads, -1))))
        value = _heads(attn.to_v(hidden_states).unflatten(-1, (attn.kv_heads, -1)))
        query = _rotate(query, image_rotary_emb)
        key = _rotate(key, image_rotary_emb)
        return _out(attn, _attend(query, key, value, attention_mask))


class CrossAttention:
    """Attention processor: rows of the batch attend to the remembered keys and values of their own item.

    Items may differ in length: each attends by itself, so that none needs padding, which ACE-Step would attend to.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Sequence[tuple[int, KeysValues]],
        attention_mask: None = None,
        image_rotary_emb: None = None,
    ) -> Tensor:
        """The attended states `(B, L, W)`; `encoder_hidden_states` gives how many rows listen to which item."""
        query = _heads(attn.norm_q(attn.to_q(hidden_states).unflatten(-1, (attn.heads, -1))))
        rows = [count for count, _ in encoder_hidden_states]
        attended = [
            _attend(part, key.expand(len(part), -1, -1, -1), value.expand(len(part), -1, -1, -1))
            for part, (_, (key, value)) in zip(query.split(rows), encoder_hidden_states, strict=True)
        ]
        return _out(attn, torch.cat(attended))


def _heads(states: Tensor) -> Tensor:
    return states.transpose(1, 2)


def _rotate(heads: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Heads `(B, H, L, D)` turned by their positions: Qwen's layout, whose two halves are the coordinates."""
    cos, sin = angles
    first, second = heads.chunk(2, dim=-1)
    return (heads * cos + torch.cat([-second, first], dim=-1) * sin).type_as(heads)


def _out(attn: Any, heads: Tensor) -> Tensor:
    states: Tensor = attn.to_out[0](heads.transpose(1, 2).flatten(2))
    return states


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    if mask is not None and groups > 1:
        # CUDA's fused kernels take a mask or grouped heads, not both; the fallback would store every score.
        key, value = (heads.repeat_interleave(groups, dim=1) for heads in (key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=query.shape[1] != key.shape[1])


def install_attention(dit: Dit) -> None:
    """Nothing; the DiT's layers attend by the processors of this file."""
    for layer in dit.layers:
        layer.self_attn.set_processor(SelfAttention())
        layer.cross_attn.set_processor(CrossAttention())


def remember(dit: Dit, states: Sequence[Tensor]) -> TorchCondition:
    """The condition of packed states `(1, L, W)`, one per item, with every layer's keys and values."""
    return TorchCondition(tuple(states), tuple(_keys_values(dit, item) for item in states))


def _keys_values(dit: Dit, states: Tensor) -> tuple[KeysValues, ...]:
    embedded = dit.condition_embedder(states)
    pairs = []
    for layer in dit.layers:
        attn = layer.cross_attn
        key = _heads(attn.norm_k(attn.to_k(embedded).unflatten(-1, (attn.kv_heads, -1))))
        pairs.append((key, _heads(attn.to_v(embedded).unflatten(-1, (attn.kv_heads, -1)))))
    return tuple(pairs)


def grid_of(dit: Dit, tokens: int) -> Grid:
    """The grid of a sequence of so many tokens, on the DiT's device."""
    device, window = dit.proj_in_conv.weight.device, dit.config.sliding_window
    positions: Any = torch.arange(tokens, dtype=torch.float32, device=device)
    angles = get_1d_rotary_pos_embed(
        dit.head_dim, positions, theta=dit.rope_theta, use_real=True, repeat_interleave_real=False
    )
    near = (positions[:, None] - positions[None, :]).abs() <= window if tokens > window + 1 else None
    return Grid(tokens, angles, near)


def velocity(
    dit: Dit,
    grid: Grid,
    x: Tensor,
    t: float,
    context: Tensor,
    conditions: Sequence[TorchCondition],
) -> list[Tensor]:
    """`v_t` `(B, T, C)` in the DiT's type for every condition, from one forward over all of them."""
    batch, frames, _ = x.shape
    states = torch.cat([context.expand(batch, -1, -1), x], dim=-1)
    states = F.pad(states, (0, 0, 0, -frames % dit.patch_size)).transpose(1, 2)
    states = dit.proj_in_conv(states).transpose(1, 2).repeat(len(conditions), 1, 1)
    time, modulation = _time(dit, t, states)
    listeners = [
        (batch // condition.items, memory) for condition in conditions for memory in condition.memory
    ]  # one item serves the whole batch, else there is one per row
    for index, layer in enumerate(dit.layers):
        states = layer(
            hidden_states=states,
            position_embeddings=grid.angles,
            temb=modulation,
            attention_mask=grid.window if dit.layer_types[index] == "sliding_attention" else None,
            encoder_hidden_states=[(rows, memory[index]) for rows, memory in listeners],
        )
    shift, scale = (dit.scale_shift_table + time.unsqueeze(1)).chunk(2, dim=1)
    states = (dit.norm_out(states) * (1 + scale) + shift).type_as(states)
    states = dit.proj_out_conv(states.transpose(1, 2)).transpose(1, 2)[:, :frames]
    return list(states.chunk(len(conditions)))


def _time(dit: Dit, t: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """The embedding `(1, W)` of t and the six modulations `(1, 6, W)`; the second embedding is given t - r = 0."""
    embedded = []
    for embed, level in ((dit.time_embed, t), (dit.time_embed_r, 0.0)):
        wave = embed.time_sinusoid(torch.tensor([level], device=like.device) * embed.scale).to(like.dtype)
        embedded.append(embed.linear_2(embed.act1(embed.linear_1(wave))))
    time, since = embedded
    modulation = dit.time_embed.time_proj(dit.time_embed.act2(time))
    modulation = modulation + dit.time_embed_r.time_proj(dit.time_embed_r.act2(since))
    return time + since, modulation.unflatten(1, (6, -1))
