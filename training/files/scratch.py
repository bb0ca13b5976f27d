# SPDX-License-Identifier: Apache-2.0
"""Scratch space: where this machine keeps its working copies of object stores, and what its processes share; closed to
other users."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from tadrib.training.errors import Problem, ResourceError


def working_copy(url: str) -> Path:
    """The folder for the working copy of ``url``, under `scratch`."""
    address = url.partition("?")[0]
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    return scratch() / f"{address.rstrip('/').rpartition('/')[2]}-{digest}"


def scratch() -> Path:
    """TADRIB_SCRATCH, or a private folder in the temporary directory.

    Raises ResourceError if that folder may belong to another user, who could have planted files or links in it.
    """
    given = os.environ.get("TADRIB_SCRATCH")
    return Path(given) if given else _own_folder(Path(tempfile.gettempdir()) / f"tadrib-{os.getuid()}")


def _own_folder(path: Path) -> Path:
    """``path`` as a folder that only this user can enter, created if missing.

    Its name is predictable and its parent is world-writable, so an existing entry is checked, and links are not
    followed.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise _refused(path, f"cannot be created: {error.strerror}.") from error
    if stat.S_ISLNK(found.st_mode):
        raise _refused(path, f"is a link to {os.readlink(path)}.")
    if found.st_uid != os.getuid():
        raise _refused(path, f"belongs to user {found.st_uid}, but this process runs as user {os.getuid()}.")
    if found.st_mode & 0o022:
        raise _refused(path, f"is writable by others: its mode is {stat.S_IMODE(found.st_mode):o}.")
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)  # earlier versions created it world-readable
    return path


def _refused(path: Path, message: str) -> ResourceError:
    action = (
        "Another user may have put it there. Set TADRIB_SCRATCH to a folder of your own, or have it removed."
    )
    return ResourceError(
        "there is no safe folder for the run's working copy", [Problem(str(path), message, action)]
    )
