# SPDX-License-Identifier: Apache-2.0
"""Trim a tensor to its largest entries, in blocks: TIES' first step (Yadav et al. 2023, arXiv 2306.01708, section 4).

The k-th largest magnitude is found exactly in two passes without sorting: bits of non-negative float32 numbers order
as the numbers do, so the first pass counts their upper 16 bits and the second the lower 16 within the bin that k is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_BINS = 2**16
Blocks = Callable[[], Iterator[Tensor]]
"""The blocks of one tensor, from the start each time it is called."""


class Trim:
    """Keeps the ``round down(density * size)`` entries of largest magnitude, at least one, of the tensor in ``blocks``.

    Call it with the same blocks in order. Of several entries at the threshold the first are kept.
    """

    def __init__(self, blocks: Blocks, size: int, density: float) -> None:
        self._keeps_all = density >= 1
        self._threshold, self._at_threshold = 0, 0
        if self._keeps_all:
            return
        wanted = max(1, int(density * size)) if density > 0 else 0
        high, wanted = _bin_of(wanted, (_bits(block) >> 16 for block in blocks()))
        inside = (bits[bits >> 16 == high] & (_BINS - 1) for bits in map(_bits, blocks()))
        low, self._at_threshold = _bin_of(wanted, inside)
        self._threshold = (high << 16) + low

    def __call__(self, block: Tensor) -> Tensor:
        if self._keeps_all:
            return block
        bits = _bits(block)
        equal = bits == self._threshold
        first = equal & (equal.cumsum(0) <= self._at_threshold)
        self._at_threshold -= int(first.sum())
        return block * ((bits > self._threshold) | first).reshape(block.shape)


def _bits(block: Tensor) -> Tensor:
    return block.abs().reshape(-1).contiguous().view(torch.int32)


def _bin_of(wanted: int, parts: Iterator[Tensor]) -> tuple[int, int]:
    """The bin that the ``wanted``-th largest value is in, and its place among the largest of that bin."""
    counts = torch.zeros(_BINS, dtype=torch.int64)
    for part in parts:
        counts += torch.bincount(part, minlength=_BINS)
    above = counts.flip(0).cumsum(0)  # above[i]: how many are in the i + 1 highest bins
    place = int(torch.searchsorted(above, wanted))
    if not wanted or place == _BINS:
        return _BINS - 1, 0
    return _BINS - 1 - place, wanted - (int(above[place - 1]) if place else 0)
