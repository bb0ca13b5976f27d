# SPDX-License-Identifier: Apache-2.0
"""Permissions of saved models: those that the process's umask gives any new file."""

from __future__ import annotations

import os
from pathlib import Path


def follow_umask(folder: str | os.PathLike[str]) -> None:
    """Give the files of ``folder`` the mode of newly made ones.

    safetensors 0.8 writes 0600 whatever the umask, and a model that only its writer can read is no use to the pod
    that serves it.
    """
    umask = os.umask(0)  # it can be read only by setting it
    os.umask(umask)
    for path in Path(folder).iterdir():
        if path.is_file():
            path.chmod(0o666 & ~umask)


def unreadable_files(folder: Path) -> list[str]:
    """Names of the files in ``folder`` that this process may not read."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and not os.access(path, os.R_OK))
