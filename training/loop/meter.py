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

    def update(self, values: Mapping[str, Tensor], counts: bool = True) -> None:
        """Add items; where they do not count, as a stand-in's, only their names are taken, that all workers have the
        same."""
        for name, items in values.items():
            row = torch.stack([items.sum(dtype=torch.float64), items.new_tensor(items.numel()).double()])
            nothing = torch.zeros_like(row)
            self._sums[name] = self._sums.get(name, nothing) + (row if counts else nothing)

    def sums(self) -> dict[str, Tensor]:
        """What was added up so far, for `restore`."""
        return dict(self._sums)

    def restore(self, sums: dict[str, Tensor]) -> None:
        """Forget what came after `sums`, but not the names, that all workers have the same."""
        self._sums = {name: sums.get(name, torch.zeros_like(row)) for name, row in self._sums.items()}

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
