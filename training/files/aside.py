# SPDX-License-Identifier: Apache-2.0
"""Set a file or folder aside: what is in the way is renamed, never deleted."""

from __future__ import annotations

from pathlib import Path


def set_aside(path: Path, why: str) -> Path:
    """Rename ``path`` to the first free name ``{name}.{why}-1``, ``-2``, ... beside it; returns the new path."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{why}-{number}")).exists():
        number += 1
    return path.rename(aside)
