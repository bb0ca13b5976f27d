# SPDX-License-Identifier: Apache-2.0
"""The lock of a run directory: one start at a time writes to it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from filelock import FileLock, Timeout

from training.errors import Problem, ResourceError
from training.run_directory import RunDirectory

BEAT_SECONDS = 5.0
"""Between two signs of life."""
_PATIENCE = 2.6 * BEAT_SECONDS
"""For a sign of life from another machine, whose clock may differ from ours."""
_CERTAINLY_DEAD = 24 * BEAT_SECONDS
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_FOR_THE_GUARD = 10.0
_SECONDS_FOR_A_RIVAL = 1.0
"""Without a file lock, as in object stores: after this, whoever stands in the lock has it."""
_NO_FILE_LOCKS = {errno.ENOLCK, errno.ENOTSUP}
"""What file systems answer, NFS without its lock daemon among them, that lock nothing."""


@contextmanager
def writing_to(run: RunDirectory, on_loss: Callable[[], None], patience: float = 0.0) -> Iterator[None]:
    """Hold the run's lock. ``on_loss`` is called, from a thread, if another start takes it over.

    A lock whose holder is dead is taken over: at once when it was a process of this machine, after some seconds
    without a sign of life otherwise. Raises ResourceError, naming the holder, when it is alive after ``patience``
    seconds: a start that follows upon another may find that one still saving.
    """
    lock = _Lock(run)
    lock.acquire(patience)
    done = threading.Event()
    beating = threading.Thread(target=lock.keep_beating, args=(done, on_loss), name="lock", daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join(timeout=BEAT_SECONDS)
        lock.release()


def holder(run: RunDirectory) -> dict[str, Any] | None:
    """What the lock says: ``owner``, ``host``, ``pid``, ``ray_job`` (submission id or None), ``started`` and ``beat``
    (seconds since the epoch). None when nobody holds it."""
    try:
        return json.loads(run.read_note(run.lock_file) or b"null")
    except ValueError:  # torn by a full disk or a crash
        return None


def is_alive(run: RunDirectory, held: dict[str, Any]) -> bool:
    """Whether the holder still runs; for one on another machine this may wait for its next sign of life."""
    if held["host"] == socket.gethostname():
        return _started_at(held["pid"]) == held["process"]
    if time.time() - held["beat"] > _CERTAINLY_DEAD:
        return False
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        time.sleep(BEAT_SECONDS / 5)
        now = holder(run)
        if now is None or now["owner"] != held["owner"]:
            return now is not None
        if now["beat"] != held["beat"]:
            return True
    return False


class _Lock:
    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._content: dict[str, Any] = {
            "owner": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": _started_at(os.getpid()),
            "ray_job": os.environ.get("TADRIB_SUBMISSION_ID"),
            "started": time.time(),
            "beat": time.time(),
        }

    def acquire(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while (held := holder(self._run)) is not None and is_alive(self._run, held):
            if time.monotonic() >= deadline:
                raise self._refusal(held)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._take(held)
        winner = holder(self._run)
        if winner is None or winner["owner"] != self._content["owner"]:
            raise self._refusal(winner or {"host": "another machine", "pid": "?", "started": time.time()})

    def _take(self, seen: dict[str, Any] | None) -> None:
        """Put our name into the lock in place of the dead holder ``seen``, or of none, unless a rival was quicker."""
        if self._run.store is None:
            guard = FileLock(self._run.lock_file.with_name(f".{self._run.lock_file.name}.guard"))
            try:
                with guard.acquire(timeout=_SECONDS_FOR_THE_GUARD):
                    if _owner(holder(self._run)) in (None, _owner(seen)):
                        self._write()
                    return
            except Timeout:
                return
            except OSError as error:
                if error.errno not in _NO_FILE_LOCKS:
                    raise
        self._write()
        time.sleep(_SECONDS_FOR_A_RIVAL)

    def _write(self) -> None:
        self._content["beat"] = time.time()
        self._run.write_note(self._run.lock_file, json.dumps(self._content))

    def keep_beating(self, done: threading.Event, on_loss: Callable[[], None]) -> None:
        while not done.wait(BEAT_SECONDS):
            try:
                now = holder(self._run)
                if now is not None and now["owner"] != self._content["owner"]:
                    on_loss()
                    return
                self._write()
            except (OSError, ResourceError):
                continue  # a full disk or a store that is away: the next beat tries again

    def release(self) -> None:
        with contextlib.suppress(OSError, ResourceError):  # a stale lock is told by its beat
            now = holder(self._run)
            if now is not None and now["owner"] == self._content["owner"]:
                self._run.remove_note(self._run.lock_file)

    def _refusal(self, held: dict[str, Any]) -> ResourceError:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(held["started"]))
        who = f"process {held['pid']} on {held['host']}"
        message = f"{who} has been training in it since {since}."
        action = f"Follow it with tadrib status {self._run}, or end it with tadrib stop {self._run}."
        return ResourceError("the run is under way", [Problem(str(self._run), message, action)])


def _owner(held: dict[str, Any] | None) -> str | None:
    return None if held is None else held["owner"]


def _started_at(pid: int) -> float | None:
    """When a process of this machine started, in seconds since the epoch; None when there is none.

    A number can be that of another process by now, which then started at another time.
    """
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None
