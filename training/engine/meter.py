# SPDX-License-Identifier: Apache-2.0
"""Means of metrics over all items seen by all workers since the last drain."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor


class Meter:
    """Adds up per-item values, [items] each, and averages them over every worker's items."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def update(self, values: Mapping[str, Tensor], weight: float = 1.0) -> None:
        for name, items in values.items():
            row = torch.stack([items.sum(dtype=torch.float64), items.new_tensor(items.numel()).double()])
            self._sums[name] = self._sums.get(name, torch.zeros_like(row)) + weight * row

    def drain(self, totals: tuple[str, ...] = ()) -> dict[str, float]:
        """Mean of each metric, the sum for those named in ``totals``; a collective call; starts over."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        table = torch.stack([self._sums[name] for name in names])
        self._sums = {}
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(table)
        return {
            name: float(total) if name in totals else float(total / count)
            for name, (total, count) in zip(names, table.tolist(), strict=True)
            if name in totals or count
        }
