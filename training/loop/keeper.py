# SPDX-License-Identifier: Apache-2.0
"""Keeper: what becomes of a checkpoint once all workers have written it aside."""

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

    @property
    def step(self) -> int:
        return step_of(self.target.name) or 0

    def surplus(self, steps: Iterable[int]) -> list[int]:
        """Those of ``steps`` that this save makes superfluous; later ones are not this training's to delete."""
        return surplus([step for step in steps if step <= self.step], self.limit, self.best)

    def manifest(self, files: dict) -> Manifest:
        return Manifest(
            step=self.step,
            num_workers=dist.get_world_size() if dist.is_initialized() else 1,
            rows_per_step=self.rows_per_step,
            versions=self.versions,
            files=files,
        )


class Keeper(Protocol):
    """Commits checkpoints, and has them at hand. All methods but `steps` and ``require_ours`` are collective: all
    workers call them."""

    require_ours: Callable[[], None]
    """Raises when what is saved to is no longer this training's; called before each write."""

    def begin(self, folder: Path, step: int) -> None:
        """Make ``folder`` ready for a training that begins after ``step``."""

    def keep(self, saved: Saved) -> None:
        """Make ``saved`` the newest checkpoint, now or soon, and delete what is surplus after that."""

    def close(self) -> None:
        """Return when everything kept is committed. Raises what went wrong."""

    def steps(self, folder: Path) -> Collection[int]:
        """Steps of the committed checkpoints; ``folder`` is where this machine has them."""

    def bring(self, checkpoint: Path) -> None:
        """Have a committed checkpoint whole at its place on this machine. Raises ResourceError where that fails."""


class FolderKeeper:
    """Commits in the folder itself: a disk of one machine, or one that all machines share."""

    def __init__(self, require_ours: Callable[[], None] = lambda: None) -> None:
        self.require_ours = require_ours

    def begin(self, folder: Path, step: int) -> None:
        """Set aside the checkpoints after ``step``: they are another training's, and this one would replace them."""
        if is_rank_zero():
            later = {each: path for each, path in sorted(named(folder).items()) if each > step}
            moved = [f"{path.name} as {set_aside(path, 'before').name}" for path in later.values()]
            if moved:
                warn(
                    f"{folder} holds checkpoints of another training, which are kept: {', '.join(moved)}. To continue"
                    " that one, resume from its checkpoint; else give each training an output_dir of its own"
                )
        barrier()

    def keep(self, saved: Saved) -> None:
        if is_rank_zero():
            self.require_ours()
            seal(saved.aside, saved.manifest(describe(saved.aside)))
            commit(saved.aside, saved.target)
            folder = saved.target.parent
            for step in saved.surplus(committed(folder)):
                remove(folder / checkpoint_of(step))
        barrier()

    def close(self) -> None:
        """Nothing is under way after `keep`."""

    def steps(self, folder: Path) -> Collection[int]:
        return committed(folder)

    def bring(self, checkpoint: Path) -> None:
        """It is where it was committed."""


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
