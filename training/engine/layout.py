# SPDX-License-Identifier: Apache-2.0
"""Which token may attend to which: the segments of a packed row.

A group ``[prompt | c1 | c2 | ...]`` becomes one *lead* segment (prompt and c1, causal as usual) and one *tail* segment
for each other completion. A tail's queries are the completion; its keys are the prompt followed by the completion.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class AttentionSegment:
    """``length`` consecutive query tokens: one lead or one tail.

    ``prompt_length`` is 0 for a lead. A tail's keys are the first ``prompt_length`` tokens of segment number ``lead``,
    then its own tokens.
    """

    length: int
    prompt_length: int = 0
    lead: int = -1


@dataclass(frozen=True, slots=True)
class AttentionLayout:
    """The segments of one packed row, in token order.

    The tensors are for the CUDA kernel: ``key_index`` int64 [K] gathers every segment's keys from the row;
    ``query_ends`` and ``key_ends`` int32 [S + 1] are cumulative lengths (FlashAttention's ``cu_seqlens``).
    """

    segments: tuple[AttentionSegment, ...]
    key_index: Tensor
    query_ends: Tensor
    key_ends: Tensor
    longest_query: int
    longest_key: int

    def to(self, device: torch.device, non_blocking: bool = False) -> AttentionLayout:
        return replace(
            self,
            key_index=self.key_index.to(device, non_blocking=non_blocking),
            query_ends=self.query_ends.to(device, non_blocking=non_blocking),
            key_ends=self.key_ends.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> AttentionLayout:
        return replace(
            self,
            key_index=self.key_index.pin_memory(),
            query_ends=self.query_ends.pin_memory(),
            key_ends=self.key_ends.pin_memory(),
        )


def build_layout(groups: Iterable[tuple[int, list[int]]]) -> AttentionLayout:
    """The layout of a row that holds groups of (prompt length, completion lengths), one after another."""
    segments: list[AttentionSegment] = []
    keys: list[Tensor] = []
    start = 0
    for prompt_length, completion_lengths in groups:
        lead = len(segments)
        prompt = torch.arange(start, start + prompt_length)
        own = start + prompt_length
        for i, length in enumerate(completion_lengths):
            completion = torch.arange(own, own + length)
            # the lead's keys are contiguous already; for a tail this repeats the prompt
            keys.append(torch.cat([prompt, completion]))
            segments.append(
                AttentionSegment(prompt_length + length)
                if i == 0
                else AttentionSegment(length, prompt_length, lead)
            )
            own += length
        start = own
    query_lengths = [segment.length for segment in segments]
    key_lengths = [len(k) for k in keys]
    return AttentionLayout(
        segments=tuple(segments),
        key_index=torch.cat(keys),
        query_ends=torch.tensor([0, *query_lengths]).cumsum(0).to(torch.int32),
        key_ends=torch.tensor([0, *key_lengths]).cumsum(0).to(torch.int32),
        longest_query=max(query_lengths),
        longest_key=max(key_lengths),
    )


def dense_mask(groups: Iterable[tuple[int, list[int]]]) -> Tensor:
    """The same rule as a bool mask [1, 1, N, N], True where the query (row) may attend to the key (column).

    ``allowed(q, k) = k <= q and same group and (k in the prompt or k and q in the same completion)``.
    """
    group_of, part_of = [], []  # of each token: its group, and 0 for the prompt or the completion's number
    for number, (prompt_length, completion_lengths) in enumerate(groups):
        group_of += [number] * (prompt_length + sum(completion_lengths))
        part_of += [0] * prompt_length
        for i, length in enumerate(completion_lengths, start=1):
            part_of += [i] * length
    group, part = torch.tensor(group_of), torch.tensor(part_of)
    same_group = group[:, None] == group[None, :]
    visible = (part[None, :] == 0) | (part[:, None] == part[None, :])
    causal = torch.ones(len(group), len(group), dtype=torch.bool).tril()
    return (same_group & visible & causal)[None, None]
