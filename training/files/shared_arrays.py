# SPDX-License-Identifier: Apache-2.0
"""Arrays that the processes of a machine share: made by the first that asks, memory-mapped from a file by all."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tadrib.training.files.machine_lock import machine_lock
from tadrib.training.files.scratch import scratch


def shared_arrays(key: str, make: Callable[[], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """The arrays that ``make`` returns, read-only; ``key`` names everything that they depend on.

    The files are removed with the first array that is; processes that have mapped them keep them, and one that asks
    later makes them again.
    """
    folder = scratch() / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with machine_lock(folder.parent):
        if not folder.exists():
            aside = folder.with_name(f"{key}.tmp")
            shutil.rmtree(aside, ignore_errors=True)  # left by a process that was killed right here
            aside.mkdir()
            for number, array in enumerate(make()):
                np.save(aside / f"{number}.npy", array)
            aside.rename(folder)
        arrays = tuple(np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy")))
    weakref.finalize(arrays[0], _remove, folder)
    return arrays


def _remove(folder: Path) -> None:
    with machine_lock(folder.parent):
        shutil.rmtree(folder, ignore_errors=True)
