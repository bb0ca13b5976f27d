# SPDX-License-Identifier: Apache-2.0
"""The data loader of one worker: collated micro-batches of the epoch plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from threading import Thread

from torch.utils.data import DataLoader, Dataset, Sampler

from tadrib.training.data.group import Counts, Group
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.engine.collate import ScoringPath, collate
from tadrib.training.engine.plan import EpochPlanner, SetsPlanner, StepPlan
from tadrib.training.errors import ResourceError


class PlannedBatches(Dataset):
    """Collated micro-batches of one worker, indexed by (epoch, number of the micro-batch within the epoch).

    A batch carries the counts of its optimizer step; with a `SetsPlanner` (evaluation) those of its whole set, so that
    means do not depend on how a set is cut into batches. If the reference model uses another scoring path than the
    policy, ``reference_path``, `PackedBatch.for_reference` holds the same groups collated for it. Completions with the
    role ``baseline_role`` go into `PackedBatch.baseline_batch`.
    """

    def __init__(
        self,
        groups: GroupDataset,
        planner: EpochPlanner | SetsPlanner,
        path: ScoringPath,
        worker: int,
        *,
        reference_path: ScoringPath | None = None,
        baseline_role: str | None = None,
    ) -> None:
        self.groups = groups
        self.planner = planner
        self.path = path
        self.reference_path = reference_path or path
        self.baseline_role = baseline_role
        self.worker = worker
        sets = planner.members if isinstance(planner, SetsPlanner) else []
        self._ahead = FetchAhead(groups, planner, worker)
        self._counts = [groups.count(list(members)) for members in sets]

    def __len__(self) -> int:
        return self.planner.steps_per_epoch * self.planner.num_micro_batches

    def __getitem__(self, key: tuple[int, int]) -> PackedBatch:
        epoch, number = key
        step_number, micro_batch = divmod(number, self.planner.num_micro_batches)
        self._ahead.start(epoch, step_number)
        step = self.planner.plan(epoch)[step_number]
        members = step.micro_batches[micro_batch][self.worker]
        # a worker without groups must still join the gradient all-reduce: it computes another's group at weight 0
        groups = [self.groups[i] for i in members or step.groups[:1]]
        weight = 1.0 if members else 0.0
        counts = self._counts_of(step_number, step)
        if self.baseline_role is None:
            return self._collated(groups, weight, counts)
        kept, for_baseline = zip(*(group.split(self.baseline_role) for group in groups), strict=True)
        batch = self._collated(kept, weight, counts)
        return replace(batch, baseline_batch=self._collated(for_baseline, weight, counts))

    def _counts_of(self, number: int, step: StepPlan) -> Counts:
        if isinstance(self.planner, SetsPlanner):
            return self._counts[self.planner.set_of(number)]
        return self.groups.count(step.groups)

    def _collated(self, groups: Sequence[Group], weight: float, step: Counts) -> PackedBatch:
        batch = collate(groups, path=self.path, weight=weight, step=step)
        if self.reference_path == self.path:
            return batch
        return replace(batch, for_reference=collate(groups, path=self.reference_path))


class FetchAhead:
    """Brings to this machine the blocks that one worker's micro-batches read, in their order, and no others."""

    def __init__(self, groups: GroupDataset, planner: EpochPlanner | SetsPlanner, worker: int) -> None:
        self._groups, self._planner, self._worker = groups, planner, worker
        self._has_started = False

    def start(self, epoch: int, step: int) -> None:
        """Go through the steps of ``epoch`` from ``step`` on, in the background; nothing to do on a disk."""
        if not self._has_started and self._groups.blocks.is_remote:
            Thread(target=self._fetch, args=(epoch, step), name="fetch-ahead", daemon=True).start()
        self._has_started = True

    def _fetch(self, epoch: int, first: int) -> None:
        plan = self._planner.plan(epoch)
        try:
            for number in range(first, len(plan)):
                step = plan[number]
                shares = [places[self._worker] for places in step.micro_batches]
                self._groups.bring(list(chain(step.groups[:1], *shares)))
        except ResourceError:
            return  # whoever reads the groups finds the same, and says so


class PlanSampler(Sampler):
    """Keys of the current epoch's micro-batches, in order.

    transformers' Trainer sets the epoch on ``loader.batch_sampler.batch_sampler``, because accelerate usually wraps the
    sampler once. Ours is not wrapped, so that attribute is the object itself.
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
    """``num_processes`` is the number of loader subprocesses (``dataloader_num_workers``), not of training workers."""
    return DataLoader(
        batches,
        batch_sampler=PlanSampler(len(batches)),
        collate_fn=_only,
        num_workers=num_processes,
        pin_memory=pin_memory,
    )
