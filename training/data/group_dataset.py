# SPDX-License-Identifier: Apache-2.0
"""A dataset of groups in blocks, of which each process maps only those that it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from tadrib.training.data.baselines import with_baseline
from tadrib.training.data.group import Counts, Group
from tadrib.training.data.group_table import group_in, group_table

_OPEN_BLOCKS = 256
"""Blocks that a process keeps mapped, each of which takes a file descriptor."""


class GroupBlocks:
    """Groups in blocks of the given ``sizes``, numbered throughout. ``open_block`` returns a block's record batch; to
    `Group.row` of its groups, ``first_rows`` of it is added."""

    def __init__(
        self,
        sizes: Sequence[int],
        open_block: Callable[[int], pa.RecordBatch],
        first_rows: Sequence[int] | None = None,
    ) -> None:
        self._first_rows = first_rows or [0] * len(sizes)
        self.starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._open_block = lru_cache(maxsize=_OPEN_BLOCKS)(open_block)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, position: int) -> Group:
        block = int(self.block_of(position))
        group = group_in(self._open_block(block), int(position - self.starts[block]))
        first = self._first_rows[block]
        return replace(group, row=group.row + first) if first else group

    @property
    def is_remote(self) -> bool:
        """Whether blocks have to be fetched before they can be read."""
        return False

    def bring(self, positions: np.ndarray) -> None:
        """Have the blocks of groups on this machine."""

    def block_of(self, position: int | np.ndarray) -> np.ndarray:
        return np.searchsorted(self.starts, position, side="right") - 1


@dataclass(frozen=True, slots=True)
class Baselines:
    """KTO's baselines: group ``i`` gets the first answer of the group at ``positions[i]``, cut so that it fits in
    ``longest`` tokens with the prompt, and the whole group in ``largest``."""

    positions: np.ndarray
    longest: int
    largest: int | None


@dataclass(frozen=True)
class GroupDataset:
    """The groups of ``blocks`` at ``positions``, with the size and the counts of each, in arrays that may be mapped
    from files; ``reference`` has log-probs of the completions, if precomputed."""

    blocks: GroupBlocks
    positions: np.ndarray
    num_tokens: np.ndarray
    counts: np.ndarray
    baselines: Baselines | None = None
    reference: Sequence[list[float]] | None = None

    @classmethod
    def from_groups(cls, groups: Iterable[Group]) -> GroupDataset:
        """A dataset in memory."""
        given = list(groups)
        [batch] = group_table(given).to_batches() or [group_table([]).to_batches()]
        return cls(
            GroupBlocks([len(given)], lambda block: batch),
            np.arange(len(given), dtype=np.int32),
            np.array([group.num_tokens for group in given], dtype=np.int32),
            np.array([group.counts for group in given], dtype=np.int32).reshape(-1, len(Counts._fields)),
            reference=[group.reference for group in given],
        )

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[Group]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Group:
        group = self.blocks[int(self.positions[index])]
        if self.baselines is not None:
            answer = self.blocks[int(self.baselines.positions[index])].completions[0]
            group = with_baseline(group, answer, self.baselines.longest, self.baselines.largest)
        return group if self.reference is None else replace(group, reference=self.reference[index])

    def with_reference(self, scores: Sequence[list[float]]) -> GroupDataset:
        """The same groups with ``reference`` filled in: one list of completion scores per group."""
        return replace(self, reference=scores)

    def select(self, members: Sequence[int] | np.ndarray) -> GroupDataset:
        """A dataset of only these groups, in this order."""
        chosen = np.asarray(members, dtype=np.int64)
        baselines = self.baselines and replace(self.baselines, positions=self.baselines.positions[chosen])
        reference = self.reference and [self.reference[i] for i in chosen]
        return replace(
            self,
            positions=self.positions[chosen],
            num_tokens=self.num_tokens[chosen],
            counts=self.counts[chosen],
            baselines=baselines,
            reference=reference,
        )

    def count(self, members: Sequence[int]) -> Counts:
        """The summed counts of several groups."""
        return Counts(*self.counts[members].sum(0, dtype=np.int64).tolist())

    @property
    def total(self) -> Counts:
        """The summed counts of all groups."""
        return Counts(*self.counts.sum(0, dtype=np.int64).tolist())

    def bring(self, members: Sequence[int]) -> None:
        """Have what is read for these groups on this machine."""
        self.blocks.bring(self.positions[members])
        if self.baselines is not None:
            self.blocks.bring(self.baselines.positions[members])

    def save(self, folder: Path) -> None:
        """Write the arrays to ``folder``; the blocks stay where they are."""
        folder.mkdir(parents=True)
        arrays = {"positions": self.positions, "num_tokens": self.num_tokens, "counts": self.counts}
        if self.baselines is not None:
            arrays["baselines"] = self.baselines.positions
            limits = [self.baselines.longest, self.baselines.largest or 0]
            arrays["baseline_limits"] = np.array(limits, dtype=np.int64)
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def load(cls, folder: Path, blocks: GroupBlocks) -> GroupDataset:
        """What ``save`` wrote, memory-mapped."""
        arrays = {file.stem: np.load(file, mmap_mode="r") for file in folder.glob("*.npy")}
        baselines = None
        if "baselines" in arrays:
            longest, largest = arrays.pop("baseline_limits").tolist()
            baselines = Baselines(arrays.pop("baselines"), longest, largest or None)
        return cls(blocks, baselines=baselines, **arrays)
