# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders that appear whole or not at all, and are deleted only for newer ones."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from tadrib.training.files.atomic_file import flush
from tadrib.training.files.manifest import MANIFEST
from tadrib.training.run.names import step_of

STAGING = ".saving"
"""Folder beside the checkpoints in which one is written before it is renamed into place."""


def commit(aside: Path, target: Path) -> None:
    """Rename the sealed folder ``aside`` to ``target``, replacing a folder of that name.

    The folder that held it alone goes too.
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
    """Steps whose checkpoints may go: the oldest beyond ``limit``, never the newest nor the ``best``."""
    if limit is None or len(steps) <= limit:
        return []
    kept = {max(steps), best}
    candidates = sorted(step for step in steps if step not in kept)
    return candidates[: len(steps) - max(limit, len(kept & set(steps)))]


def committed(folder: Path) -> dict[int, Path]:
    """The checkpoints of ``folder`` by step: those that have a manifest."""
    return {step: path for step, path in named(folder).items() if (path / MANIFEST).is_file()}


def named(folder: Path) -> dict[int, Path]:
    """By step, what is called a checkpoint in ``folder``, whoever wrote it."""
    found = folder.iterdir() if folder.is_dir() else []
    return {step: path for path in found if (step := step_of(path.name)) is not None}
