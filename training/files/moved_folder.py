# SPDX-License-Identifier: Apache-2.0
"""Find folders that are no longer at their recorded path, because a project or the working directory has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tadrib.training.notices import warn


@cache  # so that each substitution is announced once per process
def find_moved(written: str, beside: Path, holding: str) -> str:
    """``written`` if that folder exists; otherwise a folder at the same relative path next to ``beside``, or in one of
    its parents, that contains the file ``holding``. Falls back to ``written``.

    For an absolute path, at least the last two components have to match.
    """
    if os.path.isdir(written):
        return written
    for tail in _tails(Path(written)):
        for folder in beside.resolve().parents:
            if (folder / tail / holding).is_file():
                warn(f"{written}, named in {beside}, does not exist; using {folder / tail} instead.")
                return str(folder / tail)
    return written


def _tails(path: Path) -> Iterator[Path]:
    """Trailing parts of a path, longest first; for a relative path only the whole."""
    parts = path.parts[1:] if path.is_absolute() else path.parts
    shortest = 2 if path.is_absolute() else len(parts)
    for length in range(len(parts), shortest - 1, -1):
        yield Path(*parts[len(parts) - length :])
