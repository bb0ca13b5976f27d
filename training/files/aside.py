# SPDX-License-Identifier: Apache-2.0
"""Setting aside: what stands where something else belongs is renamed, never deleted."""

from __future__ import annotations

from pathlib import Path


def set_aside(path: Path, why: str) -> Path:
    """Rename ``path`` to the first free name beside it, ``{name}.{why}-1`` for instance; returns that."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{why}-{number}")).exists():
        number += 1
    return path.rename(aside)
