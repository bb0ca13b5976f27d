# SPDX-License-Identifier: Apache-2.0
"""Keeper: what becomes of a checkpoint once all workers have written it aside."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch.distributed as dist

from training.engine.checkpoints import commit, committed, seal, step_of, surplus
from training.manifest import Manifest, describe


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint written to ``aside`` that is to be known as ``target``, with what its manifest says besides files.

    ``limit`` checkpoints are kept, ``best`` (a step) among them.
    """

    aside: Path
    target: Path
    rows_per_step: int | None
    limit: int | None
    best: int | None
    versions: dict[str, str] = field(default_factory=dict)

    def manifest(self, files: dict) -> Manifest:
        return Manifest(
            step=step_of(self.target.name) or 0,
            num_workers=dist.get_world_size() if dist.is_initialized() else 1,
            rows_per_step=self.rows_per_step,
            versions=self.versions,
            files=files,
        )


class Keeper(Protocol):
    """Commits checkpoints. Both methods are collective: all workers call them."""

    def keep(self, saved: Saved) -> None:
        """Make ``saved`` the newest checkpoint, now or soon, and delete what is surplus after that."""

    def close(self) -> None:
        """Return when everything kept is committed. Raises what went wrong."""


class FolderKeeper:
    """Commits in the folder itself: a disk of one machine, or one that all machines share."""

    def keep(self, saved: Saved) -> None:
        if is_rank_zero():
            seal(saved.aside, saved.manifest(describe(saved.aside)))
            commit(saved.aside, saved.target)
            folder = saved.target.parent
            for step in surplus(committed(folder), saved.limit, saved.best):
                remove(folder / f"checkpoint-{step}")
        barrier()

    def close(self) -> None:
        """Nothing is under way after `keep`."""


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint; half deleted, it is none."""
    gone = checkpoint.with_name(f".{checkpoint.name}.{time.monotonic_ns()}")
    checkpoint.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def is_rank_zero() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()
