# SPDX-License-Identifier: Apache-2.0
"""Means of metrics over all items that all workers have seen since the last drain."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor


class Meter:
    """Accumulates per-item values, [items] for each metric, and averages them over all workers' items."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def update(self, values: Mapping[str, Tensor], counts: bool = True) -> None:
        """Add items. With ``counts=False`` (a placeholder batch) only the names are registered: `drain` needs the same
        names on all workers."""
        for name, items in values.items():
            # float64: float32 sums of millions of tokens lose whole tokens
            row = torch.stack([items.sum(dtype=torch.float64), items.new_tensor(items.numel()).double()])
            nothing = torch.zeros_like(row)
            self._sums[name] = self._sums.get(name, nothing) + (row if counts else nothing)

    def sums(self) -> dict[str, Tensor]:
        """What has been accumulated so far, for `restore`."""
        return dict(self._sums)

    def restore(self, sums: dict[str, Tensor]) -> None:
        """Forget what came after `sums`, but keep the names, which must be the same on all workers."""
        self._sums = {name: sums.get(name, torch.zeros_like(row)) for name, row in self._sums.items()}

    def drain(self, totals: tuple[str, ...] = ()) -> dict[str, float]:
        """The mean of each metric, or the sum if named in ``totals``; then start over. Collective."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        # rows of (sum, count), in an order that is the same on all workers: one all-reduce for all metrics
        table = torch.stack([self._sums[name] for name in names])
        self._sums = {}
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(table)
        return {
            name: float(total) if name in totals else float(total / count)
            for name, (total, count) in zip(names, table.tolist(), strict=True)
            if name in totals or count
        }
