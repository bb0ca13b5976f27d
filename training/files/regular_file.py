# SPDX-License-Identifier: Apache-2.0
"""Read regular files only: a folder, pipe or device in place of one could block a run forever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tadrib.training.errors import Problem, ResourceError

_NAMES = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


def special_files(folder: Path) -> list[str]:
    """Entries of ``folder`` that are neither files nor folders, as ``a pipe named x``; empty if it cannot be listed."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return []
    modes = {path.name: path.stat().st_mode for path in sorted(folder.iterdir()) if path.exists()}
    return [
        f"{_kind(mode)} named {name}"
        for name, mode in modes.items()
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    ]


def read_regular(path: Path, start: int = 0) -> bytes:
    """The bytes from offset ``start``. Raises OSError if there is no file, or something that is not a regular file."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"it is {_kind(mode)}, not a file", os.fspath(path))
    with path.open("rb") as file:
        file.seek(start)
        return file.read()


def read_own(path: Path, start: int = 0) -> bytes | None:
    """Like `read_regular`, but None if there is no such file.

    Raises ResourceError, naming the path, if it is not a regular file or cannot be read.
    """
    try:
        return read_regular(path, start)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        action = "Move it away, or restore the file and make it readable."
        problem = Problem(str(path), f"cannot be read: {error.strerror}.", action)
        raise ResourceError("a file of the run cannot be read", [problem]) from error


def _kind(mode: int) -> str:
    return next((name for is_one, name in _NAMES if is_one(mode)), "a device")
