# SPDX-License-Identifier: Apache-2.0
"""Local Ray: starts Ray on this machine for one run, with one retry, and explains a failure from Ray's own logs."""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path

from tadrib.ray_jobs.compat.ray_core import temporary_folder
from tadrib.training.errors import ClusterError, Problem

_OBJECT_STORE_BYTES = 256 * 1024**2  # little more than events goes through Ray; gradients do not
_ERROR_LINE = re.compile(r"^\[[\d:, -]+ [EFC] |^\S*Error: ")  # of Ray's C++ logs and of Python
_MOST_BYTES = 100_000  # of the end of a log
_LOGS_ACTION = (
    "See Ray's logs in {}. If Ray of an earlier run is still running, run `ray stop --force`; then try again."
)


def start() -> None:
    """Start Ray for this process alone and connect to it.

    A start is retried once: it may fail because another program took a port that Ray had just found free. Raises
    ClusterError with the reason in Ray's logs.
    """
    began = time.time()
    try:
        _init()
    except Exception as error:
        if _is_permanent(error):
            raise _start_error(error, began) from error
        _end_partial_start()  # processes that are left would keep their ports and memory
        began = time.time()
        try:
            _init()
        except Exception as again:
            raise _start_error(again, began) from again


def _init() -> None:
    import ray

    ray.init(address="local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES)


def _end_partial_start() -> None:
    """End what a failed start left running: Ray's processes among the children of this one."""
    import psutil
    import ray

    ray.shutdown()
    for child in psutil.Process().children(recursive=True):
        try:
            if f"{os.sep}ray{os.sep}" in " ".join(child.cmdline()):
                child.kill()
        except psutil.NoSuchProcess:
            continue


def _is_permanent(error: Exception) -> bool:
    """Whether a retry cannot succeed: the disk is full or not writable, or a socket's path would be too long."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS) or (
        "AF_UNIX path length" in str(error)
    )


def _start_error(error: Exception, began: float) -> ClusterError:
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
        return f"Free some space in {folder.parent}, or set RAY_TMPDIR to a folder with free space and a short path."
    if "Permission denied" in message or "Read-only" in message:
        return f"Let this user write to {folder.parent}, or set RAY_TMPDIR to a folder of its own with a short path."
    return _LOGS_ACTION.format(logs or folder)


def newest_session(folder: Path, began: float) -> Path | None:
    """The logs of the newest session, created at ``began`` (seconds since the epoch) or later."""
    sessions = [each for each in folder.glob("session_*/logs") if each.parent.name != "session_latest"]
    recent = [
        each for each in sessions if each.stat().st_mtime >= began - 1
    ]  # some file systems round times down
    return max(recent, key=lambda each: each.stat().st_mtime, default=None)


def reason_in(logs: Path) -> str | None:
    """The last line in the logs of Ray's processes that looks like an error. The raylet's come first: other processes
    only report that it is gone."""
    for name in ("raylet.err", "raylet.out", "gcs_server.err", "gcs_server.out"):
        try:
            text = (logs / name).read_bytes()[-_MOST_BYTES:].decode("utf-8", errors="replace")
        except OSError:
            continue
        only_errors = name.endswith(".err")
        lines = [
            line.strip()
            for line in text.splitlines()
            if line.strip() and (only_errors or _ERROR_LINE.search(line))
        ]
        if lines:
            return f"{lines[-1][:300]} ({name})"
    return None
