# SPDX-License-Identifier: Apache-2.0
"""The data loader of one worker: micro-batches of the epoch plan, collated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch.utils.data import DataLoader, Dataset, Sampler

from tadrib.training.data.group import Counts, Group, GroupDataset
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.engine.collate import Path, collate
from tadrib.training.engine.plan import EpochPlanner


class PlannedBatches(Dataset):
    """Collated micro-batches of one worker, by (epoch, number of the micro-batch within the epoch).

    ``as_one`` gives every batch the counts of all groups together, so that means over them do not depend on how they
    are cut into batches (evaluation); else a batch has the counts of its optimizer step. A reference that scores on
    another path than the policy, ``reference_path``, has the same groups laid out for it in ``for_reference``; and
    completions of the role ``apart`` stand in a batch of their own, `PackedBatch.apart`.
    """

    def __init__(
        self,
        groups: GroupDataset,
        planner: EpochPlanner,
        path: Path,
        worker: int,
        *,
        reference_path: Path | None = None,
        apart: str | None = None,
        as_one: bool = False,
    ) -> None:
        self.groups = groups
        self.planner = planner
        self.path = path
        self.reference_path = reference_path or path
        self.apart = apart
        self.worker = worker
        self._counts = groups.count(list(range(len(groups)))) if as_one else None

    def __len__(self) -> int:
        return self.planner.steps_per_epoch * self.planner.num_micro_batches

    def __getitem__(self, key: tuple[int, int]) -> PackedBatch:
        epoch, number = key
        step_number, micro_batch = divmod(number, self.planner.num_micro_batches)
        step = self.planner.plan(epoch)[step_number]
        members = step.micro_batches[micro_batch][self.worker]
        # a worker without groups must still take part in the gradient exchange, with one that has all it needs
        groups = [self.groups[i] for i in members or step.groups[:1]]
        weight = 1.0 if members else 0.0
        counts = self._counts or self.groups.count(step.groups)
        if self.apart is None:
            return self._laid_out(groups, weight, counts)
        kept, apart = zip(*(group.split(self.apart) for group in groups), strict=True)
        batch = self._laid_out(kept, weight, counts)
        return replace(batch, apart=self._laid_out(apart, weight, counts))

    def _laid_out(self, groups: Sequence[Group], weight: float, step: Counts) -> PackedBatch:
        batch = collate(groups, path=self.path, weight=weight, step=step)
        if self.reference_path == self.path:
            return batch
        return replace(batch, for_reference=collate(groups, path=self.reference_path))


class PlanSampler(Sampler):
    """Keys of the current epoch's micro-batches, in order.

    transformers' Trainer sets the epoch on ``loader.batch_sampler.batch_sampler``, accelerate's wrapper being between
    them by default; ours has no wrapper, so that attribute is this object itself.
    """

    def __init__(self, num_batches: int) -> None:
        self.num_batches = num_batches
        self.epoch = 0

    @property
    def batch_sampler(self) -> PlanSampler:
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for number in range(self.num_batches):
            yield [(self.epoch, number)]


def _only(batches: list[PackedBatch]) -> PackedBatch:
    return batches[0]


def build_loader(batches: PlannedBatches, *, num_processes: int, pin_memory: bool) -> DataLoader:
    """``num_processes`` counts loader subprocesses (``dataloader_num_workers``), not training workers."""
    return DataLoader(
        batches,
        batch_sampler=PlanSampler(len(batches)),
        collate_fn=_only,
        num_workers=num_processes,
        pin_memory=pin_memory,
    )
