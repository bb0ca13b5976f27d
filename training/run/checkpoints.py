# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: the newest whole one, wherever they are kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tadrib.training.files.aside import set_aside
from tadrib.training.files.manifest import MANIFEST, Manifest
from tadrib.training.run.checkpoint_folders import committed
from tadrib.training.run.names import CHECKPOINTS, checkpoint_of, step_of
from tadrib.training.run.trainer_state import damage as state_damage

if TYPE_CHECKING:
    from tadrib.training.files.store import Store

logger = logging.getLogger("tadrib")


def newest_whole(
    folder: Path, store: Store | None = None, say: Callable[[str], None] = logger.warning
) -> Path | None:
    """The checkpoint to continue from, on this machine's disk and verified file by file; None when there is none.

    A torn or altered one is set aside and the one before it taken, one that was renamed gets its name back; ``say`` is
    told of both.
    """
    if store is not None:
        return _newest_stored(folder, store, say)
    _name_as_written(folder, say)
    for _, path in sorted(committed(folder).items(), reverse=True):
        manifest = Manifest.read(path)
        damage = f"{MANIFEST} is none" if manifest is None else manifest.damage(path) or state_damage(path)
        if damage is None:
            return path
        aside = set_aside(path, "damaged")
        say(f"{path} is damaged ({damage}); it is set aside as {aside.name} and the one before it used")
    return None


def misnamed(folder: Path) -> dict[Path, int]:
    """What is a checkpoint by its manifest but not by its name, as a copy or one renamed by hand, with its step."""
    marks = (".damaged-", ".before-")
    found = [path for path in folder.glob("*") if not any(mark in path.name for mark in marks)]
    manifests = {path: Manifest.read(path) for path in found}
    return {path: m.step for path, m in manifests.items() if m and m.files and step_of(path.name) != m.step}


def _name_as_written(folder: Path, say: Callable[[str], None]) -> None:
    """Rename checkpoints that stand under another step than their own; a run would count from the wrong one."""
    for path, step in misnamed(folder).items():
        if step_of(path.name) is None:
            continue
        right = folder / checkpoint_of(step)
        aside = set_aside(path, "before") if right.exists() else path.rename(right)
        say(f"{path} is of step {step} by its manifest; it is renamed to {aside.name}")


def _newest_stored(folder: Path, store: Store, say: Callable[[str], None]) -> Path | None:
    from tadrib.training.files.store_folders import bring

    for step in reversed(stored_steps(store)):
        name = f"{CHECKPOINTS}/{checkpoint_of(step)}"
        target = folder / checkpoint_of(step)
        damage = bring(store, name, target)
        manifest = Manifest.read(target)
        if damage is None and manifest is not None and manifest.step != step:
            damage = f"its manifest is of step {manifest.step}"
        damage = damage or state_damage(target)
        if damage is None:
            return target
        say(f"{name} of {store.url} is damaged ({damage}); the one before it is used")
        store.remove(
            f"{name}/{MANIFEST}"
        )  # its files stay for a look; without a manifest it is no checkpoint
    return None


def stored_steps(store: Store) -> list[int]:
    """Steps of the checkpoints in the store, ascending: those that have a manifest."""
    found = []
    for name in store.sizes(CHECKPOINTS):
        folder, _, file = name.removeprefix(f"{CHECKPOINTS}/").partition("/")
        if file == MANIFEST and (step := step_of(folder)) is not None:
            found.append(step)
    return sorted(found)
