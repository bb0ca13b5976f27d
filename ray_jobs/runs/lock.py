# SPDX-License-Identifier: Apache-2.0
"""Lock: only one launch at a time writes to a run directory.

The lock is a file in the run directory that names its holder, and is rewritten with every heartbeat. It works on any
file system and in object stores. A holder that lost the lock, for instance because its machine was suspended, notices
at its next heartbeat; until then the fence (`training.run.fence`) keeps it from writing.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tadrib.ray_jobs.runs import liveness
from tadrib.training.errors import Problem, ResourceError
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.fence import Fence
from tadrib.training.run.holder import Holder
from tadrib.training.run.names import LOCK
from tadrib.training.waiting import wait_until

_SECONDS_BETWEEN_POLLS = 1.0
_SECONDS_FOR_THE_GUARD = 10.0
_SECONDS_FOR_CONCURRENT_WRITES = 1.0
"""Without file locks, as in object stores, whoever is named in the lock after this time holds it."""
_NO_FILE_LOCKS = {errno.ENOLCK, errno.ENOTSUP}
"""Errors of file systems without file locks, such as NFS without its lock daemon."""


@contextmanager
def locked(run: RunDirectory, on_loss: Callable[[], None], timeout: float = 0.0) -> Iterator[Fence]:
    """Hold the run's lock within the context; yields the fence that forbids writes after the lock was lost.

    ``on_loss`` is called, from a thread, if another launch takes the lock over. A lock with a dead holder is taken
    over: at once for a process of this machine, else after `liveness.TIMEOUT` without a heartbeat. Raises
    ResourceError, naming the holder, if it is still alive after ``timeout`` seconds, in which it may finish saving.
    """
    lock = _Lock(run)
    lock.acquire(timeout)
    done = threading.Event()
    beating = threading.Thread(target=lock.send_heartbeats, args=(done, on_loss), name="lock", daemon=True)
    beating.start()
    try:
        yield lock.fence
    finally:
        done.set()
        beating.join(timeout=liveness.BEAT_SECONDS)
        lock.release()


class _Lock:
    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._own = Holder.of_this_process()
        self.fence = Fence(run, self._own.owner)

    def acquire(self, timeout: float) -> None:
        held, is_alive = wait_until(
            self._look, lambda seen: not seen[1], timeout=timeout, every=_SECONDS_BETWEEN_POLLS
        )
        if is_alive:
            raise self._refusal(held)
        self._take(held)
        winner = self._run.files.holder()
        if _owner(winner) != self._own.owner:
            raise self._refusal(winner)

    def _look(self) -> tuple[Holder | None, bool]:
        """The holder of the lock, and whether it is alive."""
        held = self._run.files.holder()
        return held, held is not None and liveness.is_alive(self._run.files, held)

    def _take(self, seen: Holder | None) -> None:
        """Replace the dead holder ``seen``, or none, by this launch, unless another launch was faster."""
        if self._run.store is None:
            from filelock import FileLock, Timeout  # not needed to read a lock

            guard = FileLock(self._run.lock_file.with_name(f".{self._run.lock_file.name}.guard"))
            try:
                with guard.acquire(timeout=_SECONDS_FOR_THE_GUARD):
                    if _owner(self._run.files.holder()) in (None, _owner(seen)):
                        self._write()
                    return
            except Timeout:
                return
            except OSError as error:
                if error.errno not in _NO_FILE_LOCKS:
                    raise
        # the last of several writers wins: each looks again after all have had time to write
        self._write()
        time.sleep(_SECONDS_FOR_CONCURRENT_WRITES)

    def _write(self) -> None:
        self._own.beat = time.time()
        self._run.files.write(LOCK, self._own.model_dump_json())

    def send_heartbeats(self, done: threading.Event, on_loss: Callable[[], None]) -> None:
        while not done.wait(liveness.BEAT_SECONDS):
            try:
                if self.fence.is_lost():
                    on_loss()
                    return
                self._write()
            except (OSError, ResourceError):
                continue  # the disk is full or the store unavailable: try again with the next heartbeat

    def release(self) -> None:
        with contextlib.suppress(
            OSError, ResourceError
        ):  # a lock left behind is recognised by its old heartbeat
            if _owner(self._run.files.holder()) == self._own.owner:
                self._run.files.remove(LOCK)

    def _refusal(self, held: Holder | None) -> ResourceError:
        who = f"process {held.pid} on {held.host}" if held else "another launch"
        since = f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(held.started))}" if held else ""
        message = f"{who} has been running it{since}."
        action = f"Follow it with tadrib status {self._run}, or end it with tadrib stop {self._run}."
        return ResourceError("the run is already running", [Problem(str(self._run), message, action)])


def _owner(held: Holder | None) -> str | None:
    return None if held is None else held.owner
