# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

STAGING = ".saving"
"""Folder beside the checkpoints in which one is written before it is renamed into place."""


def commit(aside: Path, target: Path) -> None:
    """Flush every file of ``aside`` to disk, then rename it to ``target``, replacing a folder of that name.

    The folder that held it alone goes too.
    """
    for path in aside.rglob("*"):
        _flush(path)
    _flush(aside)
    if target.exists():
        old = aside.with_name(f"{target.name}.old")
        target.rename(old)
        aside.rename(target)
        shutil.rmtree(old)
    else:
        aside.rename(target)
    _flush(target.parent)
    aside.parent.rmdir()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
