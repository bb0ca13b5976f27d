# SPDX-License-Identifier: Apache-2.0
"""The attention function of packed rows, registered with transformers' `AttentionInterface` as ``tadrib``.

CPU: SDPA segment by segment. CUDA: FlashAttention with different query and key lengths
(`torch.nn.attention.varlen`), prompts' keys gathered once per completion. Logit caps (Gemma 2) and attention sinks
(GPT-OSS) have no kernel in either, so their segments are computed in the open, as transformers' eager attention does.
transformers builds no mask for a registered implementation, so the layout alone decides what attends to what; sliding
windows are honoured in position space.

Shape legend: H query heads, K key heads, N tokens of the row, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from tadrib.training.engine.layout import AttentionLayout

NAME = "tadrib"
_OF_NO_EFFECT = {
    "position_ids",
    "cache_position",
    "use_cache",
    "is_causal",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
}
"""Keywords that models pass through to every attention function, and that change nothing in a causal one."""


class Unpackable(ValueError):
    """An argument that would change the result, and that attention of packed rows does not know."""


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: AttentionLayout,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of one packed row: query [1, H, N, D], key and value [1, K, N, D] to [1, N, H, D].

    ``softcap`` c bounds the scores z by ``c tanh(z / c)``; ``s_aux`` [H] is each head's sink, a score that takes part
    in the softmax and has no value. Raises Unpackable for whatever else would change the result, so that the
    start-up check takes another path.
    """
    unknown = [name for name, value in others.items() if value is not None and name not in _OF_NO_EFFECT]
    if attention_mask is not None or unknown:
        raise Unpackable(f"packed attention does not know {', '.join(unknown) or 'masks'}")
    attend: Callable[..., Tensor] = _sdpa
    if softcap is not None or s_aux is not None:
        attend = partial(_in_the_open, softcap=softcap, sinks=s_aux)
    elif query.is_cuda:
        return _varlen(query, key, value, layout, scaling, sliding_window), None
    return _by_segment(query, key, value, layout, scaling, sliding_window, dropout, attend), None


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: AttentionLayout,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (t[0].transpose(0, 1) for t in (query, key, value))  # [N, heads, D]
    if len(layout.key_index) == len(query):
        key, value = key.contiguous(), value.contiguous()
    else:
        key, value = key.index_select(0, layout.key_index), value.index_select(0, layout.key_index)
    output = cast(
        Tensor,
        varlen_attn(
            query.contiguous(),
            key,
            value,
            layout.query_ends,
            layout.key_ends,
            layout.longest_query,
            layout.longest_key,
            scale=scaling,
            window_size=(window - 1 if window else -1, 0),
            enable_gqa=query.shape[1] != key.shape[1],
        ),
    )
    return output[None]


def _by_segment(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: AttentionLayout,
    scaling: float | None,
    window: int | None,
    dropout: float,
    attend: Callable[..., Tensor],
) -> Tensor:
    lengths = [segment.length for segment in layout.segments]
    # split, not slices: its backward is one concatenation instead of a zero-filled row per segment
    queries, keys, values = (t.split(lengths, dim=2) for t in (query, key, value))
    outputs = []
    for i, segment in enumerate(layout.segments):
        k, v = keys[i], values[i]
        if segment.prompt_length:
            k = torch.cat([keys[segment.lead][:, :, : segment.prompt_length], k], dim=2)
            v = torch.cat([values[segment.lead][:, :, : segment.prompt_length], v], dim=2)
        outputs.append(attend(queries[i], k, v, window, scaling, dropout))
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous()


def _sdpa(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: int | None,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    num_queries, num_keys = query.shape[2], key.shape[2]
    causal = num_queries == num_keys and not (window and window < num_keys)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if causal else _band(num_queries, num_keys, window, query.dtype, query.device),
        dropout_p=dropout,
        is_causal=causal,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _in_the_open(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: int | None,
    scaling: float | None,
    dropout: float,
    *,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    num_queries, num_keys = query.shape[2], key.shape[2]
    key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], dim=1) for t in (key, value))
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores + _band(num_queries, num_keys, window, query.dtype, query.device)
    if sinks is not None:
        column = sinks.to(scores.dtype)[None, :, None, None].expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, column], dim=-1)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)[..., :num_keys]
    return torch.nn.functional.dropout(weights, dropout) @ value


@lru_cache(maxsize=256)
def _band(
    num_queries: int, num_keys: int, window: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Additive mask [queries, keys], causal from the bottom right corner, of at most ``window`` keys."""
    query = torch.arange(num_keys - num_queries, num_keys, device=device)[:, None]
    key = torch.arange(num_keys, device=device)[None, :]
    allowed = key <= query
    if window:
        allowed &= key > query - window
    return torch.zeros(num_queries, num_keys, dtype=dtype, device=device).masked_fill_(
        ~allowed, float("-inf")
    )


AttentionInterface.register(NAME, packed_attention)
