# SPDX-License-Identifier: Apache-2.0
"""torch 2.10 to 2.13: the arguments of `varlen_attn`, which each release since its first has changed.

2.10 has ``is_causal`` and neither a scale nor a window; 2.11 has ``scale`` and ``window_size``; 2.12 adds
``enable_gqa``: https://github.com/pytorch/pytorch/blob/v2.13.0/torch/nn/attention/varlen.py
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

MADE_FOR = "2.13.0"


def causal_varlen_attention(
    attend: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_ends: Tensor,
    key_ends: Tensor,
    longest: tuple[int, int],
    *,
    scale: float | None,
    window: int | None,
) -> Tensor:
    """Causal attention of query [N, H, D] to key and value [M, K, D] by ``attend``, any release's `varlen_attn`.

    ``longest`` has the most queries and keys of a sequence; a query sees at most ``window`` keys, its own included.
    Raises ValueError for a window that the release cannot limit attention to.
    """
    known = inspect.signature(attend).parameters
    options: dict[str, Any] = {}
    if "window_size" in known:
        options["window_size"] = (window - 1 if window else -1, 0)  # (left, right)
    elif window:
        raise ValueError("torch 2.10's varlen_attn has no sliding window; install torch 2.11 or later")
    else:
        options["is_causal"] = True
    if "scale" in known:
        options["scale"] = scale
    elif scale is not None:
        query = query * (scale * query.shape[-1] ** 0.5)  # it divides by the root of D itself
    if query.shape[1] != key.shape[1]:
        if "enable_gqa" in known:
            options["enable_gqa"] = True
        else:
            key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], dim=1) for t in (key, value))
    return attend(query, key, value, query_ends, key_ends, *longest, **options)
