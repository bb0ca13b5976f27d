# SPDX-License-Identifier: Apache-2.0
"""Containment: a run reads, writes and uploads files inside its folders only, whatever a manifest says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tadrib.training.errors import Problem, ResourceError


def escapes_folder(name: str) -> bool:
    """Whether ``name``, from a manifest or listing, is not a file below the folder: it is absolute, or has ``..``,
    ``.`` or nothing between two slashes."""
    return any(part in ("", ".", "..") for part in name.split("/"))


def find_symlink(folder: Path, name: str = "") -> Path | None:
    """The first symbolic link on the path from ``folder`` (which may be one itself) to ``name``; None without one."""
    path = folder
    for part in ["", *name.split("/")]:
        path = path / part
        if path.is_symlink():
            return path
    return None


def require_contained(folder: Path, names: Iterable[str]) -> None:
    """Raise ResourceError, naming it, if one of ``names`` below ``folder`` leads outside."""
    for name in names:
        if escapes_folder(name):
            action = "No run writes such a name. Delete it from the manifest or store that lists it."
            raise _refusal(f"{folder}: {name}", "leads out of the folder.", action)
        if (link := find_symlink(folder, name)) is not None:
            message = (
                f"is a symbolic link to {link.readlink()}; a run reads and writes only inside its own folder."
            )
            raise _refusal(str(link), message, "Remove the link, or replace it with the file itself.")


def _refusal(where: str, message: str, action: str) -> ResourceError:
    return ResourceError("a file is outside its folder", [Problem(where, message, action)])
