# SPDX-License-Identifier: Apache-2.0
"""The plan of an epoch: which groups each worker computes in each micro-batch.

Every worker computes the whole plan from the seed, so nobody has to send it, a resumed run repeats it, and the
groups of an optimizer step do not depend on the number of workers: two workers see what one worker sees, and so does a
run that goes on with three. The last step of an epoch may be short; no group is dropped or used twice to fill it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tadrib.training.engine.packer import best_fit


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step. ``micro_batches[m][w]`` lists the groups of worker ``w`` in micro-batch ``m``;
    ``groups`` those of all."""

    micro_batches: list[list[list[int]]]
    groups: list[int]


class EpochPlanner:
    """Plans epochs over groups of ``num_tokens[i]`` tokens.

    ``rows_per_step`` counts groups, or, when ``bin_tokens`` is given, bins packed with groups up to that many tokens.
    A step's rows are spread over its workers and micro-batches; places that get none stand by. ``shuffle=False`` keeps
    the order of the data (evaluation).
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
        self.plan = lru_cache(maxsize=2)(self._plan)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch, the same in each: no shuffle changes the number of bins."""
        return len(self.plan(0))

    def used_within(self, steps: int) -> list[int]:
        """The groups of a run's first ``steps`` optimizer steps, ascending."""
        return sorted({group for step in self.plan(0)[:steps] for group in step.groups})

    def _plan(self, epoch: int) -> list[Step]:
        rows = self._rows(epoch)
        return [self._step(rows[i : i + self.rows_per_step]) for i in range(0, len(rows), self.rows_per_step)]

    def _rows(self, epoch: int) -> list[list[int]]:
        """The epoch's rows in order. The number of bins depends on the sizes alone, which no shuffle changes."""
        generator = np.random.default_rng([self.seed, epoch])
        count = len(self.num_tokens)
        order = generator.permutation(count) if self.shuffle else np.arange(count)
        if self.bin_tokens is None:
            return [[int(i)] for i in order]
        bins = best_fit(self.num_tokens, self.bin_tokens, order)
        if self.shuffle:
            generator.shuffle(bins)
        return bins

    def _step(self, rows: list[list[int]]) -> Step:
        places = self.num_micro_batches * self.num_workers
        shares = _balance(rows, [int(self.num_tokens[row].sum()) for row in rows], places)
        workers = self.num_workers
        return Step(
            micro_batches=[shares[m * workers : (m + 1) * workers] for m in range(self.num_micro_batches)],
            groups=[group for row in rows for group in row],
        )


def _balance(rows: list[list[int]], sizes: list[int], places: int) -> list[list[int]]:
    """Deal rows to places: an equal number each (or one less), the largest first to the place with fewest tokens."""
    most = -(-len(rows) // places)
    shares: list[list[int]] = [[] for _ in range(places)]
    counts, tokens = [0] * places, [0] * places
    for i in sorted(range(len(rows)), key=lambda i: -sizes[i]):
        place = min((p for p in range(places) if counts[p] < most), key=lambda p: (tokens[p], p))
        shares[place].extend(rows[i])
        counts[place] += 1
        tokens[place] += sizes[i]
    return shares
