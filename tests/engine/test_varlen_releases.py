# SPDX-License-Identifier: Apache-2.0
"""The kernel's call in each release of torch, against SDPA segment by segment; `varlen_attn` itself needs a GPU."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import varlen

from tadrib.training.engine.attention import UnsupportedInPacking, _by_segment, _kernel_dtype, _sdpa, _varlen
from tadrib.training.engine.layout import build_layout
from tadrib.training.engine.scorer import chunk_tokens

GROUPS = [(7, [5, 3, 9]), (12, [1, 4]), (1, [2])]


def attend(query, key, value, query_ends, key_ends, scale=None, window=(-1, 0)) -> torch.Tensor:
    """What each release computes, a sequence at a time: key heads must be as many as query heads."""
    rows = []
    for i in range(len(query_ends) - 1):
        q = query[query_ends[i] : query_ends[i + 1]].transpose(0, 1)
        k, v = (t[key_ends[i] : key_ends[i + 1]].transpose(0, 1) for t in (key, value))
        at = torch.arange(k.shape[1] - q.shape[1], k.shape[1])[:, None]
        seen = torch.arange(k.shape[1])[None] <= at
        if window[0] >= 0:
            seen &= torch.arange(k.shape[1])[None] >= at - window[0]
        rows.append(
            torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale).transpose(
                0, 1
            )
        )
    return torch.cat(rows)


def release_2_10(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None):
    assert is_causal
    return attend(query, key, value, cu_seq_q, cu_seq_k)


def release_2_11(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None, window_size=(-1, -1)
):
    assert window_size[1] == 0
    return attend(query, key, value, cu_seq_q, cu_seq_k, scale, window_size)


def release_2_12(
    query,
    key,
    value,
    cu_seq_q,
    cu_seq_k,
    max_q,
    max_k,
    *,
    return_aux=None,
    scale=None,
    window_size=(-1, -1),
    enable_gqa=False,
    seqused_k=None,
    block_table=None,
    num_splits=None,
):
    assert enable_gqa or query.shape[1] == key.shape[1]
    key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], dim=1) for t in (key, value))
    return attend(query, key, value, cu_seq_q, cu_seq_k, scale, window_size)


RELEASES = [release_2_10, release_2_11, release_2_12]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize(("scale", "window"), [(None, None), (0.3, None), (0.3, 4)])
def test_every_release_computes_what_sdpa_does(monkeypatch, release, key_heads, scale, window):
    monkeypatch.setattr(varlen, "varlen_attn", release)
    tokens, draw = sum(prompt + sum(answers) for prompt, answers in GROUPS), torch.Generator().manual_seed(0)
    query = torch.randn(1, 4, tokens, 8, generator=draw)
    key, value = (torch.randn(1, key_heads, tokens, 8, generator=draw) for _ in "kv")
    layout = build_layout(GROUPS)
    if window and release is release_2_10:
        with pytest.raises(ValueError, match="has no sliding window; install torch"):
            _varlen(query, key, value, layout, scale, window)
        return

    found = _varlen(query, key, value, layout, scale, window)
    torch.testing.assert_close(found, _by_segment(query, key, value, layout, scale, window, 0.0, _sdpa))


class Layer(torch.nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.config = type("Config", (), {"dtype": dtype})


def test_the_kernel_gets_the_16_bit_dtype_of_the_model():
    """A float32 query comes from a norm or an adapter in float32 where the model is in 16 bits, or from autocast."""
    query = torch.zeros(1, 1, 1, 1)
    assert _kernel_dtype(Layer(torch.float32), query.half()) == torch.float16
    assert _kernel_dtype(Layer(torch.bfloat16), query) == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert _kernel_dtype(Layer(torch.float32), query) == torch.bfloat16
    with pytest.raises(UnsupportedInPacking, match="computes in float32: set torch_dtype: bfloat16"):
        _kernel_dtype(Layer(torch.float32), query)


@pytest.mark.parametrize(
    ("vocabulary", "free_gib", "tokens"),
    [
        (152_064, None, 110),  # a CPU: 2 ** 24 // 152,064
        (2_000_000, None, 16),
        (152_064, 65, 2_048),  # an 80 GB GPU with a 7B model: 4.06 GiB / (14 * 152,064) = 2,049
        (152_064, 1, 256),
        (32_000, 65, 4_096),
    ],
)
def test_the_head_is_scored_by_as_many_tokens_as_the_device_has_room_for(vocabulary, free_gib, tokens):
    assert chunk_tokens(vocabulary, None if free_gib is None else free_gib * 2**30) == tokens
