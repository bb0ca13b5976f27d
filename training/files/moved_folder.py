# SPDX-License-Identifier: Apache-2.0
"""Folders that are not where their name says, because a project was moved or the current directory is another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tadrib.training.notices import warn


@cache  # a process says once what it takes for what
def find_moved(written: str, beside: Path, holding: str) -> str:
    """``written``, or the folder that has its name beside ``beside`` or above and holds a file named ``holding``.

    Of an absolute path at least the last two parts have to be the same.
    """
    if os.path.isdir(written):
        return written
    for tail in _tails(Path(written)):
        for folder in beside.resolve().parents:
            if (folder / tail / holding).is_file():
                warn(f"{written}, which {beside} names, is not there; {folder / tail} is taken for it.")
                return str(folder / tail)
    return written


def _tails(path: Path) -> Iterator[Path]:
    """Ends of a path, the longest first; of a relative one only the whole."""
    parts = path.parts[1:] if path.is_absolute() else path.parts
    shortest = 2 if path.is_absolute() else len(parts)
    for length in range(len(parts), shortest - 1, -1):
        yield Path(*parts[len(parts) - length :])
