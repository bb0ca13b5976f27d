# SPDX-License-Identifier: Apache-2.0
"""Scratch: where this machine keeps its copy of what is in an object store, closed to other users."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from tadrib.training.errors import Problem, ResourceError


def working_copy(url: str) -> Path:
    """The folder for the copy of ``url``: under TADRIB_SCRATCH, or in a folder of this user alone in the temporary
    directory.

    Raises ResourceError where that folder may be another user's, who could have left files or links there.
    """
    given = os.environ.get("TADRIB_SCRATCH")
    base = Path(given) if given else _own_folder(Path(tempfile.gettempdir()) / f"tadrib-{os.getuid()}")
    address = url.partition("?")[0]
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    return base / f"{address.rstrip('/').rpartition('/')[2]}-{digest}"


def _own_folder(path: Path) -> Path:
    """``path`` as a folder that only this user can enter, made if it is missing.

    Its name can be foretold and anybody may write beside it, so what stands there is looked at, and links are not
    followed.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise _refused(path, f"cannot be made: {error.strerror}.") from error
    if stat.S_ISLNK(found.st_mode):
        raise _refused(path, f"is a link to {os.readlink(path)}.")
    if found.st_uid != os.getuid():
        raise _refused(path, f"belongs to user {found.st_uid}, and this is user {os.getuid()}.")
    if found.st_mode & 0o022:
        raise _refused(path, f"can be written by others: its mode is {stat.S_IMODE(found.st_mode):o}.")
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)  # an earlier version left it readable
    return path


def _refused(path: Path, message: str) -> ResourceError:
    action = (
        "Another user may have put it there. Set TADRIB_SCRATCH to a folder of your own, or have it removed."
    )
    return ResourceError(
        "the working copy of the run has no safe place", [Problem(str(path), message, action)]
    )
