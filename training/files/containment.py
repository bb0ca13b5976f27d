# SPDX-License-Identifier: Apache-2.0
"""Containment: the files of a folder that a run reads, writes or uploads lie in it, whatever a manifest says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tadrib.training.errors import Problem, ResourceError


def leads_out(name: str) -> bool:
    """Whether ``name``, as manifests and listings give it, is not that of a file below the folder: absolute, or with
    ``..``, ``.`` or nothing between two slashes."""
    return any(part in ("", ".", "..") for part in name.split("/"))


def link_at(folder: Path, name: str = "") -> Path | None:
    """The first symbolic link on the way from ``folder``, which may be one itself, to ``name`` below it."""
    path = folder
    for part in ["", *name.split("/")]:
        path = path / part
        if path.is_symlink():
            return path
    return None


def require_contained(folder: Path, names: Iterable[str]) -> None:
    """Refuse to read or write ``names`` below ``folder`` where one leads elsewhere. Raises ResourceError, naming it."""
    for name in names:
        if leads_out(name):
            action = "Nobody but a stranger writes such a name; delete it where it is listed."
            raise _refusal(f"{folder}: {name}", "leads out of the folder.", action)
        if (link := link_at(folder, name)) is not None:
            message = f"is a symbolic link to {link.readlink()}, and a run's files are read and written in its folder."
            raise _refusal(str(link), message, "Remove the link, or put the file itself there.")


def _refusal(where: str, message: str, action: str) -> ResourceError:
    return ResourceError("a file lies outside its folder", [Problem(where, message, action)])
