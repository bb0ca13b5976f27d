# SPDX-License-Identifier: Apache-2.0
"""The attention function for packed rows, registered with transformers' `AttentionInterface` as ``tadrib``.

On CPU it runs SDPA segment by segment. On CUDA it runs FlashAttention with different query and key lengths
(`torch.nn.attention.varlen`), gathering the prompt's keys once per completion. Neither kernel supports logit
soft-capping (Gemma 2) or attention sinks (GPT-OSS), so those models use explicit matrix products, as transformers'
eager attention does. transformers builds no mask for a registered implementation: the layout alone decides what
attends to what. Sliding windows are measured in positions.

Shape legend: H query heads, K key heads, N tokens of the row, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from tadrib.training.compat.torch import causal_varlen_attention
from tadrib.training.engine.layout import AttentionLayout

NAME = "tadrib"
_IGNORED = {
    "position_ids",
    "cache_position",
    "use_cache",
    "is_causal",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
}
"""Keywords that models pass to every attention function and that have no effect on causal attention."""


class UnsupportedInPacking(ValueError):
    """An argument that would change the result, but that packed attention does not support."""


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

    ``softcap`` c bounds the scores z by ``c tanh(z / c)``. ``s_aux`` [H] is each head's sink: a score that enters the
    softmax but has no value. Raises UnsupportedInPacking for any other argument that would change the result; the
    start-up check then tries the next scoring path.
    """
    unknown = [name for name, value in others.items() if value is not None and name not in _IGNORED]
    if attention_mask is not None or unknown:
        raise UnsupportedInPacking(f"packed attention does not support {', '.join(unknown) or 'masks'}")
    attend: Callable[..., Tensor] = _sdpa
    if softcap is not None or s_aux is not None:
        attend = partial(_eager, softcap=softcap, sinks=s_aux)
    elif query.is_cuda:
        query, key, value = (t.to(_kernel_dtype(module, query)) for t in (query, key, value))
        return _varlen(query, key, value, layout, scaling, sliding_window), None
    return _by_segment(query, key, value, layout, scaling, sliding_window, dropout, attend), None


def _kernel_dtype(module: torch.nn.Module, query: Tensor) -> torch.dtype:
    """The 16-bit dtype to attend in, as FlashAttention takes no other. A float32 query of a model that computes in 16
    bits comes from a norm or an adapter; transformers' own FlashAttention casts it back as well."""
    autocast = torch.is_autocast_enabled(query.device.type)
    computed = torch.get_autocast_dtype(query.device.type) if autocast else None
    for dtype in (query.dtype, computed, getattr(getattr(module, "config", None), "dtype", None)):
        if dtype in (torch.bfloat16, torch.float16):
            return dtype
    raise UnsupportedInPacking(
        f"FlashAttention takes 16-bit types, and this model computes in {str(query.dtype).removeprefix('torch.')}: set"
        " torch_dtype: bfloat16"
    )


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
    # as many keys as tokens: no group has a second completion, so no prompt is repeated and nothing needs gathering
    if len(layout.key_index) == len(query):
        key, value = key.contiguous(), value.contiguous()
    else:
        key, value = key.index_select(0, layout.key_index), value.index_select(0, layout.key_index)
    output = causal_varlen_attention(
        varlen_attn,
        query.contiguous(),
        key,
        value,
        layout.query_ends,
        layout.key_ends,
        (layout.longest_query, layout.longest_key),
        scale=scaling,
        window=window,
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
    # split rather than slices: its backward is one concatenation, not a zero-filled row for each segment
    queries, keys, values = (t.split(lengths, dim=2) for t in (query, key, value))
    outputs = []
    for i, segment in enumerate(layout.segments):
        k, v = keys[i], values[i]
        # a tail also reads the prompt, whose keys stand at the start of its group's lead segment
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
    # SDPA's own causal flag aligns at the top left: right for a square without a window, wrong for a tail
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


def _eager(
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
    # grouped-query attention: each key head serves several query heads
    key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], dim=1) for t in (key, value))
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores + _band(num_queries, num_keys, window, query.dtype, query.device)
    if sinks is not None:
        column = sinks.to(scores.dtype)[None, :, None, None].expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, column], dim=-1)
    # the sink's share of the softmax is dropped: it only takes weight away from the keys
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)[..., :num_keys]
    return torch.nn.functional.dropout(weights, dropout) @ value


@lru_cache(maxsize=256)
def _band(
    num_queries: int, num_keys: int, window: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Additive mask [queries, keys], causal and aligned at the bottom right, over at most ``window`` keys."""
    # queries are the last tokens of the keys: the first query sits at position num_keys - num_queries
    query = torch.arange(num_keys - num_queries, num_keys, device=device)[:, None]
    key = torch.arange(num_keys, device=device)[None, :]
    allowed = key <= query
    if window:
        allowed &= key > query - window
    return torch.zeros(num_queries, num_keys, dtype=dtype, device=device).masked_fill_(
        ~allowed, float("-inf")
    )


AttentionInterface.register(NAME, packed_attention)
