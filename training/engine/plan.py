# SPDX-License-Identifier: Apache-2.0
"""The plan of an epoch: which groups each worker computes in each micro-batch.

Every worker derives the whole plan from the seed. So no plan has to be sent, a resumed run reproduces it, and the
groups of an optimizer step do not depend on the number of workers: a run can continue with more or fewer of them. The
last step of an epoch may be short; no group is dropped, or used twice to fill it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tadrib.training.engine.packer import best_fit


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One optimizer step. ``micro_batches[m][w]`` lists the groups of worker ``w`` in micro-batch ``m``, ``groups`` all
    groups of the step."""

    micro_batches: list[list[list[int]]]
    groups: list[int]


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
        self.num_tokens = np.asarray(num_tokens, dtype=np.int64)
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

    def used_within(self, steps: int) -> list[int]:
        """The groups used in the first ``steps`` optimizer steps of a run, ascending."""
        # past the first epoch every group has been used, so its plan is all that is needed
        return sorted({group for step in self.plan(0)[:steps] for group in step.groups})

    def _plan(self, epoch: int) -> list[StepPlan]:
        rows = self._rows(epoch)
        return [self._step(rows[i : i + self.rows_per_step]) for i in range(0, len(rows), self.rows_per_step)]

    def _rows(self, epoch: int) -> list[list[int]]:
        """The epoch's rows in order. Their number depends on the sizes of groups alone, which no shuffle changes."""
        # seeded by epoch, so that a resumed run can draw epoch 7 without having drawn the six before it
        generator = np.random.default_rng([self.seed, epoch])
        count = len(self.num_tokens)
        order = generator.permutation(count) if self.shuffle else np.arange(count)
        if self.bin_tokens is None:
            return [[int(i)] for i in order]
        bins = best_fit(self.num_tokens, self.bin_tokens, order)
        if self.shuffle:
            generator.shuffle(bins)
        return bins

    def _step(self, rows: list[list[int]]) -> StepPlan:
        # a place is one worker's share of one micro-batch
        places = self.num_micro_batches * self.num_workers
        shares = _balance(rows, [int(self.num_tokens[row].sum()) for row in rows], places)
        workers = self.num_workers
        return StepPlan(
            micro_batches=[shares[m * workers : (m + 1) * workers] for m in range(self.num_micro_batches)],
            groups=[group for row in rows for group in row],
        )


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
