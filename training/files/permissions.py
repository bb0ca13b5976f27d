# SPDX-License-Identifier: Apache-2.0
"""File permissions of saved models: those that the process's umask gives to any new file."""

from __future__ import annotations

import os
from pathlib import Path


def follow_umask(folder: str | os.PathLike[str]) -> None:
    """Give the files in ``folder`` the mode of newly created ones.

    safetensors 0.8 writes mode 0600 whatever the umask, and a serving pod may run as another user.
    """
    umask = os.umask(0)  # the only way to read it is to set it
    os.umask(umask)
    for path in Path(folder).iterdir():
        if path.is_file():
            path.chmod(0o666 & ~umask)


def unreadable_files(folder: Path) -> list[str]:
    """Names of the files in ``folder`` that this process may not read."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and not os.access(path, os.R_OK))
