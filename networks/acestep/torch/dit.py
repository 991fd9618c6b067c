"""The DiT's forward pass over many steps: what does not depend on t is computed once.

The modules are diffusers'; the order of their calls is that of `AceStepTransformer1DModel.forward`. Three things
differ: cross-attention keys and values come from the condition's cache, where they were computed once (upstream
caches them too); rotary angles and the window mask are kept between steps; t stays in float32, because bfloat16
rounds t * 1000 to multiples of four.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from torch import Tensor

from networks.acestep.conditions import EncodedCondition, caches_by_rows
from networks.acestep.runtime import Head

Dit = Any
"""diffusers' AceStepTransformer1DModel, whose attributes are known only when it runs."""

KeysValues = tuple[Tensor, Tensor]
TorchCondition = EncodedCondition[Tensor]

AtHand = Callable[[Any], AbstractContextManager[object]]
"""A stretch of code in which the weights of a module are on its device; they always are where nothing is offloaded."""


@dataclass(frozen=True)
class PositionTables:
    """What a sequence of one length needs in every layer: cosines and sines of the rotary angles, and a mask.

    `window_mask` is that of the sliding window: True where a token is attended to, and None where the window holds
    the whole sequence.
    """

    tokens: int
    rotary: tuple[Tensor, Tensor]
    window_mask: Tensor | None


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
        """The attended states `(B, L, W)`; `image_rotary_emb` are the cosines and sines of the rotary angles."""
        query = _heads(attn.norm_q(attn.to_q(hidden_states).unflatten(-1, (attn.heads, -1))))
        key = _heads(attn.norm_k(attn.to_k(hidden_states).unflatten(-1, (attn.kv_heads, -1))))
        value = _heads(attn.to_v(hidden_states).unflatten(-1, (attn.kv_heads, -1)))
        query = _rotate(query, image_rotary_emb)
        key = _rotate(key, image_rotary_emb)
        return _out(attn, _attend(query, key, value, attention_mask))


class CrossAttention:
    """Attention processor: rows of the batch attend to the cached keys and values of their own item.

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
        """The attended states `(B, L, W)`; `encoder_hidden_states` gives how many rows attend to which item."""
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
    """Heads `(B, H, L, D)` rotated by their positions: Qwen's layout, whose two halves are the coordinates."""
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
    """Make the DiT's layers attend by the processors of this file."""
    for layer in dit.layers:
        layer.self_attn.set_processor(SelfAttention())
        layer.cross_attn.set_processor(CrossAttention())


def cache_cross_attention(dit: Dit, states: Sequence[Tensor], at_hand: AtHand = nullcontext) -> TorchCondition:
    """The condition of packed states `(1, L, W)`, one per item, with every layer's keys and values computed."""
    return TorchCondition(tuple(states), tuple(_keys_values(dit, item, at_hand) for item in states))


def _keys_values(dit: Dit, states: Tensor, at_hand: AtHand) -> tuple[KeysValues, ...]:
    embedded = dit.condition_embedder(states)
    pairs = []
    for layer in dit.layers:
        attn = layer.cross_attn
        with at_hand(attn):
            key = _heads(attn.norm_k(attn.to_k(embedded).unflatten(-1, (attn.kv_heads, -1))))
            pairs.append((key, _heads(attn.to_v(embedded).unflatten(-1, (attn.kv_heads, -1)))))
    return tuple(pairs)


def position_tables(dit: Dit, tokens: int) -> PositionTables:
    """The tables of a sequence of so many tokens, on the DiT's device."""
    device, window = dit.proj_in_conv.weight.device, dit.config.sliding_window
    positions: Any = torch.arange(tokens, dtype=torch.float32, device=device)
    rotary = get_1d_rotary_pos_embed(
        dit.head_dim, positions, theta=dit.rope_theta, use_real=True, repeat_interleave_real=False
    )
    mask = (positions[:, None] - positions[None, :]).abs() <= window if tokens > window + 1 else None
    return PositionTables(tokens, rotary, mask)


def velocity(
    dit: Dit,
    tables: PositionTables,
    x: Tensor,
    t: float,
    context: Tensor,
    conditions: Sequence[TorchCondition],
    *,
    at_hand: AtHand = nullcontext,
) -> list[Tensor]:
    """`v_t` `(B, T, C)` in the DiT's type for every condition, from one forward over all of them."""
    batch, frames, _ = x.shape
    states = _tokens(dit, x, context).repeat(len(conditions), 1, 1)
    time, modulation = _time(dit, t, states)
    states = _through_layers(dit, tables, states, modulation, caches_by_rows(batch, conditions), at_hand=at_hand)
    shift, scale = (dit.scale_shift_table + time.unsqueeze(1)).chunk(2, dim=1)
    states = (dit.norm_out(states) * (1 + scale) + shift).type_as(states)
    states = dit.proj_out_conv(states.transpose(1, 2)).transpose(1, 2)[:, :frames]
    return list(states.chunk(len(conditions)))


def cross_attention(
    dit: Dit,
    tables: PositionTables,
    x: Tensor,
    t: float,
    context: Tensor,
    condition: TorchCondition,
    *,
    heads: Sequence[Head],
    positions: slice,
    at_hand: AtHand = nullcontext,
) -> list[Tensor]:
    """A map `(tokens of the DiT, positions)` for each head, in float32 on the CPU, of one row and one item.

    The layers above the last of the heads do not run.
    """
    (cache,) = condition.cross_attention_cache
    states = _tokens(dit, x, context)
    _, modulation = _time(dit, t, states)
    with _listening(dit, heads, cache, positions) as maps:
        layers = 1 + max(layer for layer, _ in heads)
        _through_layers(dit, tables, states, modulation, caches_by_rows(1, [condition]), at_hand=at_hand, count=layers)
    return [maps[head] for head in heads]


@contextmanager
def _listening(
    dit: Dit, heads: Sequence[Head], cache: Sequence[KeysValues], positions: slice
) -> Iterator[Mapping[Head, Tensor]]:
    """The maps of the heads, there once their layers have run.

    Hooks that are taken away again leave the layers as they are for songs, whose fused attention keeps no scores.
    """
    maps: dict[Head, Tensor] = {}

    def listen(layer: int, attn: Any, args: object, kwargs: Mapping[str, Tensor]) -> None:
        key, groups = cache[layer][0], attn.heads // attn.kv_heads
        query = _heads(attn.norm_q(attn.to_q(kwargs["hidden_states"]).unflatten(-1, (attn.heads, -1))))
        for head in (head for each, head in heads if each == layer):
            scores = query[0, head].float() @ key[0, head // groups].float().T * query.shape[-1] ** -0.5
            maps[layer, head] = scores.softmax(dim=-1)[:, positions].cpu()

    with ExitStack() as hooks:
        for layer in {layer for layer, _ in heads}:
            attn = dit.layers[layer].cross_attn
            hooks.callback(attn.register_forward_pre_hook(partial(listen, layer), with_kwargs=True).remove)
        yield maps


def _tokens(dit: Dit, x: Tensor, context: Tensor) -> Tensor:
    """What the layers are given: a token for each patch of frames, the last one filled up with zeros."""
    batch, frames, _ = x.shape
    states = torch.cat([context.expand(batch, -1, -1), x], dim=-1)
    states = F.pad(states, (0, 0, 0, -frames % dit.patch_size)).transpose(1, 2)
    tokens: Tensor = dit.proj_in_conv(states).transpose(1, 2)
    return tokens


def _through_layers(
    dit: Dit,
    tables: PositionTables,
    states: Tensor,
    modulation: Tensor,
    caches: Sequence[tuple[int, Sequence[KeysValues]]],
    *,
    at_hand: AtHand,
    count: int | None = None,
) -> Tensor:
    """The states after the first `count` layers; None stands for all."""
    for index, layer in enumerate(dit.layers[:count]):
        with at_hand(layer):
            states = layer(
                hidden_states=states,
                position_embeddings=tables.rotary,
                temb=modulation,
                attention_mask=tables.window_mask if dit.layer_types[index] == "sliding_attention" else None,
                encoder_hidden_states=[(rows, layers[index]) for rows, layers in caches],
            )
    return states


def _time(dit: Dit, t: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """The embedding `(1, W)` of t and the six modulations `(1, 6, W)`; the second embedding is given t - r = 0."""
    embedded = []
    for embed, level in ((dit.time_embed, t), (dit.time_embed_r, 0.0)):
        sinusoid = embed.time_sinusoid(torch.tensor([level], device=like.device) * embed.scale).to(like.dtype)
        embedded.append(embed.linear_2(embed.act1(embed.linear_1(sinusoid))))
    time, time_r = embedded
    modulation = dit.time_embed.time_proj(dit.time_embed.act2(time))
    modulation = modulation + dit.time_embed_r.time_proj(dit.time_embed_r.act2(time_r))
    return time + time_r, modulation.unflatten(1, (6, -1))
