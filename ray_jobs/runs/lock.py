# SPDX-License-Identifier: Apache-2.0
"""The lock of a run directory: one start at a time writes to it."""

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

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_FOR_THE_GUARD = 10.0
_SECONDS_FOR_A_RIVAL = 1.0
"""Without a file lock, as in object stores: after this, whoever stands in the lock has it."""
_NO_FILE_LOCKS = {errno.ENOLCK, errno.ENOTSUP}
"""What file systems answer, NFS without its lock daemon among them, that lock nothing."""


@contextmanager
def writing_to(run: RunDirectory, on_loss: Callable[[], None], patience: float = 0.0) -> Iterator[Fence]:
    """Hold the run's lock; gives the fence that keeps this start from writing once it has lost it.

    ``on_loss`` is called, from a thread, if another start takes it over. A lock whose holder is dead is taken over: at
    once when it was a process of this machine, after some seconds without a sign of life otherwise. Raises
    ResourceError, naming the holder, when it is alive after ``patience`` seconds: a start that follows upon another may
    find that one still saving.
    """
    lock = _Lock(run)
    lock.acquire(patience)
    done = threading.Event()
    beating = threading.Thread(target=lock.keep_beating, args=(done, on_loss), name="lock", daemon=True)
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

    def acquire(self, patience: float) -> None:
        held, is_alive = wait_until(
            self._look, lambda seen: not seen[1], timeout=patience, every=_SECONDS_BETWEEN_LOOKS
        )
        if is_alive:
            raise self._refusal(held)
        self._take(held)
        winner = self._run.files.holder()
        if _owner(winner) != self._own.owner:
            raise self._refusal(winner)

    def _look(self) -> tuple[Holder | None, bool]:
        """Who holds the lock, and whether that one is alive."""
        held = self._run.files.holder()
        return held, held is not None and liveness.is_alive(self._run.files, held)

    def _take(self, seen: Holder | None) -> None:
        """Put our name into the lock in place of the dead holder ``seen``, or of none, unless a rival was quicker."""
        if self._run.store is None:
            from filelock import FileLock, Timeout  # what reads a lock does without it

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
        self._write()
        time.sleep(_SECONDS_FOR_A_RIVAL)

    def _write(self) -> None:
        self._own.beat = time.time()
        self._run.files.write(LOCK, self._own.model_dump_json())

    def keep_beating(self, done: threading.Event, on_loss: Callable[[], None]) -> None:
        while not done.wait(liveness.BEAT_SECONDS):
            try:
                if self.fence.is_lost():
                    on_loss()
                    return
                self._write()
            except (OSError, ResourceError):
                continue  # a full disk or a store that is away: the next beat tries again

    def release(self) -> None:
        with contextlib.suppress(OSError, ResourceError):  # a stale lock is told by its beat
            if _owner(self._run.files.holder()) == self._own.owner:
                self._run.files.remove(LOCK)

    def _refusal(self, held: Holder | None) -> ResourceError:
        who = f"process {held.pid} on {held.host}" if held else "another start"
        since = f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(held.started))}" if held else ""
        message = f"{who} has been training in it{since}."
        action = f"Follow it with tadrib status {self._run}, or end it with tadrib stop {self._run}."
        return ResourceError("the run is under way", [Problem(str(self._run), message, action)])


def _owner(held: Holder | None) -> str | None:
    return None if held is None else held.owner
