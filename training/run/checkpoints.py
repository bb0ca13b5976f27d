# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: find the newest intact one, on disk or in an object store."""

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
    """The checkpoint to resume from, downloaded if needed and verified file by file; None if there is none.

    A corrupt checkpoint is set aside and the previous one used; a renamed one gets its name back. ``say`` is called for
    both.
    """
    if store is not None:
        return _newest_stored(folder, store, say)
    _name_as_written(folder, say)
    for _, path in sorted(committed(folder).items(), reverse=True):
        manifest = Manifest.read(path)
        damage = f"{MANIFEST} is invalid" if manifest is None else manifest.damage(path) or state_damage(path)
        if damage is None:
            return path
        aside = set_aside(path, "damaged")
        say(f"{path} is corrupt: {damage}. It is set aside as {aside.name}, and the previous one is used")
    return None


def misnamed(folder: Path) -> dict[Path, int]:
    """Folders whose manifest says checkpoint N but whose name does not (copied or renamed by hand), with N."""
    marks = (".damaged-", ".before-")
    found = [path for path in folder.glob("*") if not any(mark in path.name for mark in marks)]
    manifests = {path: Manifest.read(path) for path in found}
    return {path: m.step for path, m in manifests.items() if m and m.files and step_of(path.name) != m.step}


def _name_as_written(folder: Path, say: Callable[[str], None]) -> None:
    """Rename checkpoints that bear another step than their own, from which a run would count wrongly."""
    for path, step in misnamed(folder).items():
        if step_of(path.name) is None:
            continue
        right = folder / checkpoint_of(step)
        aside = set_aside(path, "before") if right.exists() else path.rename(right)
        say(f"{path} is from step {step} according to its manifest; it is renamed to {aside.name}")


def _newest_stored(folder: Path, store: Store, say: Callable[[str], None]) -> Path | None:
    from tadrib.training.files.store_folders import download_folder

    for step in reversed(stored_steps(store)):
        name = f"{CHECKPOINTS}/{checkpoint_of(step)}"
        target = folder / checkpoint_of(step)
        damage = download_folder(store, name, target)
        manifest = Manifest.read(target)
        if damage is None and manifest is not None and manifest.step != step:
            damage = f"its manifest is from step {manifest.step}"
        damage = damage or state_damage(target)
        if damage is None:
            return target
        say(f"{name} of {store.url} is corrupt: {damage}. The previous one is used")
        # without a manifest it no longer counts as a checkpoint; its files stay for inspection
        store.remove(f"{name}/{MANIFEST}")
    return None


def stored_steps(store: Store) -> list[int]:
    """Steps of the committed checkpoints in the store (those with a manifest), ascending."""
    found = []
    for name in store.sizes(CHECKPOINTS):
        folder, _, file = name.removeprefix(f"{CHECKPOINTS}/").partition("/")
        if file == MANIFEST and (step := step_of(folder)) is not None:
            found.append(step)
    return sorted(found)
