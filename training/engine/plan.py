# SPDX-License-Identifier: Apache-2.0
"""The plan of an epoch: which groups each worker computes in each micro-batch.

Every worker derives the whole plan from the seed. So no plan has to be sent, a resumed run reproduces it, and the
groups of an optimizer step do not depend on the number of workers: a run can continue with more or fewer of them. The
last step of an epoch may be short; no group is dropped, or used twice to fill it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tadrib.training.engine.packer import Bins, best_fit
from tadrib.training.files.shared_arrays import shared_arrays

_SHARED_GROUPS = 1_000_000
"""Plans of at least as many groups are made by one process of a machine, and memory-mapped by the others."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One optimizer step. ``micro_batches[m][w]`` lists the groups of worker ``w`` in micro-batch ``m``, ``groups`` all
    groups of the step."""

    micro_batches: list[list[list[int]]]
    groups: list[int]

    def moved(self, first: int) -> StepPlan:
        """The same step of groups that are numbered from ``first``."""
        moved = [[[group + first for group in share] for share in shares] for shares in self.micro_batches]
        return StepPlan(moved, [group + first for group in self.groups])


class EpochPlan(Sequence[StepPlan]):
    """The optimizer steps of an epoch, each dealt to its places when it is asked for: the rest are two arrays."""

    def __init__(self, rows: Bins, planner: EpochPlanner) -> None:
        self._rows, self._planner = rows, planner

    def __len__(self) -> int:
        return -(-len(self._rows) // self._planner.rows_per_step)

    def __getitem__(self, index: int) -> StepPlan:  # type: ignore[override]
        first = range(len(self))[index] * self._planner.rows_per_step
        end = min(first + self._planner.rows_per_step, len(self._rows))
        rows = [self._rows[row] for row in range(first, end)]
        sizes = [int(self._planner.num_tokens[row].sum()) for row in rows]
        # a place is one worker's share of one micro-batch
        workers, micro_batches = self._planner.num_workers, self._planner.num_micro_batches
        lists = [row.tolist() for row in rows]
        shares = _balance(lists, sizes, micro_batches * workers)
        return StepPlan(
            micro_batches=[shares[m * workers : (m + 1) * workers] for m in range(micro_batches)],
            groups=[group for row in lists for group in row],
        )

    def groups_within(self, steps: int) -> np.ndarray:
        """The groups of the first ``steps`` steps, ascending."""
        end = min(steps * self._planner.rows_per_step, len(self._rows))
        return np.sort(self._rows.members[: self._rows.starts[end]])


class EpochPlanner:
    """Plans epochs over groups with ``num_tokens[i]`` tokens each.

    A row is a group or, with ``bin_tokens``, a bin packed with groups up to that many tokens. ``rows_per_step`` rows
    make an optimizer step; they are spread over its workers and micro-batches, some of which may get none.
    ``shuffle=False`` keeps the order of the data (evaluation).
    """

    def __init__(
        self,
        num_tokens: Sequence[int] | np.ndarray,
        *,
        rows_per_step: int,
        num_workers: int = 1,
        num_micro_batches: int = 1,
        bin_tokens: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        self.num_tokens = np.asarray(num_tokens)
        self.rows_per_step = rows_per_step
        self.num_workers = num_workers
        self.num_micro_batches = num_micro_batches
        self.bin_tokens = bin_tokens
        self.shuffle = shuffle
        self.seed = seed
        # two plans: that of the current epoch, and that of epoch 0, which `steps_per_epoch` reads
        self.plan = lru_cache(maxsize=2)(self._plan)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch, the same number in each: no shuffle changes the number of bins."""
        return len(self.plan(0))

    def used_within(self, steps: int) -> np.ndarray:
        """The groups used in the first ``steps`` optimizer steps of a run, ascending."""
        # past the first epoch every group has been used, so its plan is all that is needed
        return self.plan(0).groups_within(steps)

    def _plan(self, epoch: int) -> EpochPlan:
        if len(self.num_tokens) < _SHARED_GROUPS:
            return EpochPlan(self._rows(epoch), self)
        what = f"{self.seed} {epoch} {self.bin_tokens} {self.shuffle} {self.num_tokens.dtype}".encode()
        key = hashlib.sha256(what + np.ascontiguousarray(self.num_tokens).data).hexdigest()[:24]
        return EpochPlan(Bins(*shared_arrays(f"plan-{key}", lambda: self._arrays(epoch))), self)

    def _arrays(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows(epoch)
        return rows.members, rows.starts

    def _rows(self, epoch: int) -> Bins:
        """The epoch's rows in order. Their number depends on the sizes of groups alone, which no shuffle changes."""
        # seeded by epoch, so that a resumed run can draw epoch 7 without having drawn the six before it
        generator = np.random.default_rng([self.seed, epoch])
        count = len(self.num_tokens)
        order = np.arange(count, dtype=np.int32)
        if self.shuffle:
            generator.shuffle(order)
        if self.bin_tokens is None:
            return Bins(order, np.arange(count + 1, dtype=np.int32))
        bins = best_fit(self.num_tokens, self.bin_tokens, order)
        if not self.shuffle:
            return bins
        bin_order = np.arange(len(bins))
        generator.shuffle(bin_order)
        return bins.permuted(bin_order)


class SetsPlanner:
    """Plans several sets of groups that stand one after the other, each by itself and in order: no step has groups of
    two of them. ``sizes`` are the numbers of groups of the sets, ``settings`` those of `EpochPlanner`."""

    num_micro_batches = 1

    def __init__(self, num_tokens: np.ndarray, sizes: Sequence[int], **settings: Any) -> None:
        ends = np.cumsum(sizes).tolist()
        self.members = [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        self._planners = [
            EpochPlanner(num_tokens[each.start : each.stop], shuffle=False, **settings)
            for each in self.members
        ]
        self.steps = [planner.steps_per_epoch if len(planner.num_tokens) else 0 for planner in self._planners]
        """Of each set."""
        self.plan = lru_cache(maxsize=1)(self._plan)

    @property
    def steps_per_epoch(self) -> int:
        return sum(self.steps)

    def set_of(self, step: int) -> int:
        """The number of the set that a step is of."""
        return int(np.searchsorted(np.cumsum(self.steps), step, side="right"))

    def _plan(self, epoch: int) -> list[StepPlan]:
        return [
            step.moved(each.start)
            for each, planner in zip(self.members, self._planners, strict=True)
            for step in (planner.plan(epoch) if each else ())
        ]


def _balance(rows: list[list[int]], sizes: list[int], places: int) -> list[list[int]]:
    """Deal rows to places, the largest first, each to the place with the fewest tokens. Row counts differ by at most
    one."""
    # greedy (longest processing time first): workers wait for the slowest one, so tokens are what to balance
    most = -(-len(rows) // places)
    shares: list[list[int]] = [[] for _ in range(places)]
    counts, tokens = [0] * places, [0] * places
    for i in sorted(range(len(rows)), key=lambda i: -sizes[i]):
        place = min((p for p in range(places) if counts[p] < most), key=lambda p: (tokens[p], p))
        shares[place].extend(rows[i])
        counts[place] += 1
        tokens[place] += sizes[i]
    return shares
