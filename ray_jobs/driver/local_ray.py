# SPDX-License-Identifier: Apache-2.0
"""Local Ray: started for one run on this machine, a second time where the first fails, or refused with Ray's reason."""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path

from tadrib.ray_jobs.compat.ray_core import temporary_folder
from tadrib.training.errors import ClusterError, Problem

_OBJECT_STORE_BYTES = 256 * 1024**2  # Ray carries little more than events; gradients go past it
_ERROR_LINE = re.compile(r"^\[[\d:, -]+ [EFC] |^\S*Error: ")  # of Ray's C++ logs and of Python
_MOST_BYTES = 100_000
_LOGS_ACTION = (
    "Ray's own logs are in {}. Run `ray stop --force` if a Ray of an earlier run is left, and try again."
)


def start() -> None:
    """Start a Ray for this process alone and connect to it.

    A start may fail for once, as when another program takes a port that Ray had just found free; only a second failure
    counts. Raises ClusterError with what Ray's logs say.
    """
    began = time.time()
    try:
        _init()
    except Exception as error:
        if _is_hopeless(error):
            raise _refused(error, began) from error
        _clean_up()
        began = time.time()
        try:
            _init()
        except Exception as again:
            raise _refused(again, began) from again


def _init() -> None:
    import ray

    ray.init(address="local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES)


def _clean_up() -> None:
    """End what a start left half done: Ray's own processes among the children of this one."""
    import psutil
    import ray

    ray.shutdown()
    for child in psutil.Process().children(recursive=True):
        try:
            if f"{os.sep}ray{os.sep}" in " ".join(child.cmdline()):
                child.kill()
        except psutil.NoSuchProcess:
            continue


def _is_hopeless(error: Exception) -> bool:
    """Whether another try must fail alike: no space is left, or no room for a socket's path."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS) or (
        "AF_UNIX path length" in str(error)
    )


def _refused(error: Exception, began: float) -> ClusterError:
    folder = temporary_folder()
    words = " ".join(str(error).split())[:400]
    message = f"{type(error).__name__}: {words}" if words else type(error).__name__
    logs = newest_session(folder, began)
    reason = reason_in(logs) if logs else None
    if reason and reason not in message:
        message = f"{message.rstrip('.')}. Its log says: {reason}"
    return ClusterError(
        "Ray cannot be started on this machine", [Problem("", message, _action(message, folder, logs))]
    )


def _action(message: str, folder: Path, logs: Path | None) -> str:
    if "AF_UNIX path length" in message:
        return f"Set RAY_TMPDIR to a short path such as /tmp; it is {folder.parent}."
    if "No space left" in message or "Disk quota" in message:
        return (
            f"Free some space in {folder.parent}, or set RAY_TMPDIR to a folder with room and a short path."
        )
    if "Permission denied" in message or "Read-only" in message:
        return f"Let this user write to {folder.parent}, or set RAY_TMPDIR to a folder of its own with a short path."
    return _LOGS_ACTION.format(logs or folder)


def newest_session(folder: Path, began: float) -> Path | None:
    """The logs of the session that was made last, at ``began`` (seconds since the epoch) or later."""
    sessions = [each for each in folder.glob("session_*/logs") if each.parent.name != "session_latest"]
    recent = [each for each in sessions if each.stat().st_mtime >= began - 1]
    return max(recent, key=lambda each: each.stat().st_mtime, default=None)


def reason_in(logs: Path) -> str | None:
    """The last line of Ray's processes that reads like an error; what the raylet says comes before what others say of
    it."""
    for name in ("raylet.err", "raylet.out", "gcs_server.err", "gcs_server.out"):
        try:
            text = (logs / name).read_bytes()[-_MOST_BYTES:].decode("utf-8", errors="replace")
        except OSError:
            continue
        said = name.endswith(".err")  # empty where all goes well
        lines = [
            line.strip() for line in text.splitlines() if line.strip() and (said or _ERROR_LINE.search(line))
        ]
        if lines:
            return f"{lines[-1][:300]} ({name})"
    return None
