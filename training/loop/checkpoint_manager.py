# SPDX-License-Identifier: Apache-2.0
"""Checkpoint managers: commit a checkpoint once all workers have written it to a staging folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch.distributed as dist

from tadrib.training.files.aside import set_aside
from tadrib.training.files.manifest import Manifest, describe, seal
from tadrib.training.notices import warn
from tadrib.training.run.checkpoint_folders import commit, committed, named, surplus
from tadrib.training.run.names import checkpoint_of, step_of


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A checkpoint written to the staging folder ``aside``, to be renamed to ``target``, with facts for its manifest.

    At most ``limit`` checkpoints are kept (None: all), among them the newest and the one of step ``best``.
    """

    aside: Path
    target: Path
    rows_per_step: int | None
    limit: int | None
    best: int | None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def step(self) -> int:
        return step_of(self.target.name) or 0

    def surplus(self, steps: Iterable[int]) -> list[int]:
        """Those of ``steps`` to delete after this save. Later steps belong to another training and are left alone."""
        return surplus([step for step in steps if step <= self.step], self.limit, self.best)

    def manifest(self, files: dict) -> Manifest:
        return Manifest(
            step=self.step,
            num_workers=dist.get_world_size() if dist.is_initialized() else 1,
            rows_per_step=self.rows_per_step,
            versions=self.versions,
            files=files,
        )


class CheckpointManager(Protocol):
    """Commits checkpoints, deletes old ones and fetches them back. Every method except `steps` and
    ``require_ownership`` is collective: all workers have to call it.

    The life of a checkpoint: each worker writes its files into a staging folder; `commit` hashes them, writes the
    manifest and makes the checkpoint visible; `close` waits for commits that run in the background.
    """

    require_ownership: Callable[[], None]
    """Raises if another start has taken over the run; called before each write."""

    def begin(self, folder: Path, step: int) -> None:
        """Prepare ``folder`` for a training that continues after ``step``."""

    def commit(self, saved: SavedCheckpoint) -> None:
        """Make ``saved`` the newest checkpoint, possibly in the background, then delete surplus ones."""

    def close(self) -> None:
        """Wait until every checkpoint is committed. Raises the error of a commit that failed."""

    def steps(self, folder: Path) -> Collection[int]:
        """Steps of the committed checkpoints; ``folder`` is where this machine keeps them."""

    def fetch(self, checkpoint: Path) -> None:
        """Make sure a committed checkpoint is complete on this machine. Raises ResourceError if it is not."""


class FolderCheckpointManager:
    """Commits in the folder itself: a local disk, or one that all machines mount."""

    def __init__(self, require_ownership: Callable[[], None] = lambda: None) -> None:
        self.require_ownership = require_ownership

    def begin(self, folder: Path, step: int) -> None:
        """Rename the checkpoints after ``step``: they belong to another training, and this one would overwrite them."""
        if is_rank_zero():
            later = {each: path for each, path in sorted(named(folder).items()) if each > step}
            moved = [set_aside(path, "before").name for path in later.values()]
            if moved:
                warn(
                    f"{folder} holds checkpoints of another training, kept as {', '.join(moved)}. To continue that"
                    " training, resume from its checkpoint; otherwise give each training its own output_dir."
                )
        barrier()

    def commit(self, saved: SavedCheckpoint) -> None:
        if is_rank_zero():
            self.require_ownership()
            # the manifest is written last and the rename is atomic, so a checkpoint that exists is complete
            seal(saved.aside, saved.manifest(describe(saved.aside)))
            commit(saved.aside, saved.target)
            folder = saved.target.parent
            for step in saved.surplus(committed(folder)):
                remove(folder / checkpoint_of(step))
        barrier()

    def close(self) -> None:
        """Nothing to wait for: `commit` is synchronous."""

    def steps(self, folder: Path) -> Collection[int]:
        return committed(folder)

    def fetch(self, checkpoint: Path) -> None:
        """Nothing to do: the checkpoint is where it was committed."""


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint, renaming it first so that a half-deleted one is never mistaken for a checkpoint."""
    gone = checkpoint.with_name(f".{checkpoint.name}.{time.monotonic_ns()}")
    checkpoint.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def is_rank_zero() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()
