# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders: their names, their atomic commit, and which of them may be deleted."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from tadrib.training.files.atomic_file import flush
from tadrib.training.files.manifest import MANIFEST
from tadrib.training.run.names import step_of

STAGING = ".saving"
"""Staging folder beside the checkpoints: one is written there, then renamed into place."""


def commit(aside: Path, target: Path) -> None:
    """Rename the sealed folder ``aside`` to ``target``, replacing any folder of that name.

    The staging folder that held it is deleted.
    """
    if target.exists():
        old = aside.with_name(f"{target.name}.old")
        target.rename(old)
        aside.rename(target)
        shutil.rmtree(old)
    else:
        aside.rename(target)
    flush(target.parent)
    aside.parent.rmdir()


def surplus(steps: Collection[int], limit: int | None, best: int | None) -> list[int]:
    """Steps whose checkpoints may be deleted: the oldest beyond ``limit``, but never the newest or the ``best``."""
    if limit is None or len(steps) <= limit:
        return []
    kept = {max(steps), best}
    candidates = sorted(step for step in steps if step not in kept)
    return candidates[: len(steps) - max(limit, len(kept & set(steps)))]


def committed(folder: Path) -> dict[int, Path]:
    """The committed checkpoints of ``folder`` by step: those with a manifest."""
    return {step: path for step, path in named(folder).items() if (path / MANIFEST).is_file()}


def named(folder: Path) -> dict[int, Path]:
    """Everything in ``folder`` that is named like a checkpoint, by step, whoever wrote it."""
    found = folder.iterdir() if folder.is_dir() else []
    return {step: path for path in found if (step := step_of(path.name)) is not None}
