# SPDX-License-Identifier: Apache-2.0
"""The attention function of packed rows, registered with transformers' `AttentionInterface` as ``tadrib``.

CPU: SDPA segment by segment. CUDA: FlashAttention with different query and key lengths
(`torch.nn.attention.varlen`), prompts' keys gathered once per completion. transformers builds no mask for a registered
implementation, so the layout alone decides what attends to what; sliding windows are honoured in position space.

Shape legend: H query heads, K key heads, N tokens of the row, D head size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from training.engine.layout import AttentionLayout

NAME = "tadrib"


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
    **unused,
) -> tuple[Tensor, None]:
    """Attention of one packed row: query [1, H, N, D], key and value [1, K, N, D] to [1, N, H, D]."""
    if attention_mask is not None or softcap is not None:
        raise ValueError("packed attention knows neither masks nor logit soft-capping; use the separate path")
    if query.is_cuda:
        output = _varlen(query, key, value, layout, scaling, sliding_window)
    else:
        output = _by_segment(query, key, value, layout, scaling, sliding_window, dropout)
    return output, None


def _varlen(query, key, value, layout: AttentionLayout, scaling, window) -> Tensor:
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


def _by_segment(query, key, value, layout: AttentionLayout, scaling, window, dropout) -> Tensor:
    lengths = [segment.length for segment in layout.segments]
    # split, not slices: its backward is one concatenation instead of a zero-filled row per segment
    queries, keys, values = (t.split(lengths, dim=2) for t in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    outputs = []
    for i, segment in enumerate(layout.segments):
        k, v = keys[i], values[i]
        if segment.prompt_length:
            k = torch.cat([keys[segment.lead][:, :, : segment.prompt_length], k], dim=2)
            v = torch.cat([values[segment.lead][:, :, : segment.prompt_length], v], dim=2)
        causal = not segment.prompt_length and not (window and window < segment.length)
        mask = None if causal else _band(segment.length, k.shape[2], window, query.dtype)
        outputs.append(
            scaled_dot_product_attention(
                queries[i],
                k,
                v,
                attn_mask=mask,
                dropout_p=dropout,
                is_causal=causal,
                scale=scaling,
                enable_gqa=grouped,
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2)


@lru_cache(maxsize=256)
def _band(num_queries: int, num_keys: int, window: int | None, dtype: torch.dtype) -> Tensor:
    """Additive mask [queries, keys], causal from the bottom right corner, of at most ``window`` keys."""
    query = torch.arange(num_keys - num_queries, num_keys)[:, None]
    key = torch.arange(num_keys)[None, :]
    allowed = key <= query
    if window:
        allowed &= key > query - window
    return torch.zeros(num_queries, num_keys, dtype=dtype).masked_fill_(~allowed, float("-inf"))


AttentionInterface.register(NAME, packed_attention)
