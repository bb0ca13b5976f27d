# SPDX-License-Identifier: Apache-2.0
"""Regular file: reading one of a run's own, where a folder, a pipe or a device may stand in its place."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tadrib.training.errors import Problem, ResourceError

_NAMES = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


def no_files(folder: Path) -> list[str]:
    """What in ``folder`` is neither a file nor a folder: its kind and its name. None where it may not be listed."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return []
    modes = {path.name: path.stat().st_mode for path in sorted(folder.iterdir()) if path.exists()}
    return [
        f"{_kind(mode)} named {name}"
        for name, mode in modes.items()
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    ]


def read_regular(path: Path, start: int = 0) -> bytes:
    """The bytes from ``start`` on. Raises OSError for none, and for what is no file: a read of that may not end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"it is {_kind(mode)}, not a file", os.fspath(path))
    with path.open("rb") as file:
        file.seek(start)
        return file.read()


def read_own(path: Path, start: int = 0) -> bytes | None:
    """As `read_regular`; None where there is no such file.

    Raises ResourceError, naming it, for what is no file or may not be read.
    """
    try:
        return read_regular(path, start)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        action = "Move it away, or put the file back there and make it readable."
        problem = Problem(str(path), f"cannot be read: {error.strerror}.", action)
        raise ResourceError("a file of the run cannot be read", [problem]) from error


def _kind(mode: int) -> str:
    return next((name for is_one, name in _NAMES if is_one(mode)), "a device")
