# SPDX-License-Identifier: Apache-2.0
"""Pool: worker processes that try inputs; one that hangs, dies or grew too large is replaced."""

from __future__ import annotations

import logging
import multiprocessing
import resource
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tests.fuzz.trial import MAX_BYTES, MAX_SECONDS_IN_ALL, Outcome, peak_bytes, run_trial

Case = tuple[str, int]
_BATCH = 20
_GRACE_SECONDS = 120.0  # over the limit that a trial keeps itself, for C code and loading libraries
_HARD_LIMIT = (
    2 * MAX_BYTES
)  # of data segments: an input that takes all memory ends its worker, not the machine
_SPAWN = multiprocessing.get_context("spawn")  # a fresh process has no locks of ours


def run_all(cases: Iterable[Case], workers: int) -> Iterator[Outcome]:
    """The outcome of each case, as they come."""
    waiting = deque(cases)
    team = [_Worker() for _ in range(min(workers, len(waiting)))]
    try:
        while waiting or any(worker.tasks for worker in team):
            for worker in team:
                worker.give(waiting)
            ready = wait([worker.pipe for worker in team if worker.tasks], timeout=1.0)
            for number, worker in enumerate(team):
                outcome = worker.take() if worker.pipe in ready else worker.overdue()
                if outcome is not None:
                    yield outcome
                if worker.is_done_for:
                    waiting.extendleft(reversed(worker.tasks))
                    worker.end()
                    team[number] = _Worker()
    finally:
        for worker in team:
            worker.end()


class _Worker:
    """One process, the cases it still has to answer for, and when it was last heard of."""

    def __init__(self) -> None:
        self.pipe, other = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self.tasks: deque[Case] = deque()
        self.is_done_for = False
        self._heard = time.monotonic()

    def give(self, waiting: deque[Case]) -> None:
        if self.tasks or not waiting:
            return
        self.tasks.extend(waiting.popleft() for _ in range(min(_BATCH, len(waiting))))
        self._heard = time.monotonic()
        self.pipe.send(list(self.tasks))

    def take(self) -> Outcome | None:
        try:
            outcome, self.is_done_for = self.pipe.recv()
        except EOFError:
            self._process.join()
            return self._lost(f"the process died with exit code {self._process.exitcode}")
        self._heard = time.monotonic()
        self.tasks.popleft()
        return outcome

    def overdue(self) -> Outcome | None:
        if not self.tasks or time.monotonic() - self._heard < MAX_SECONDS_IN_ALL + _GRACE_SECONDS:
            return None
        return self._lost("hung where no signal ends it")

    def _lost(self, detail: str) -> Outcome:
        self.is_done_for = True
        return Outcome(*self.tasks.popleft(), "fault", time.monotonic() - self._heard, detail)

    def end(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join()


def _work(pipe: Connection) -> None:
    """Answer for each case with its outcome and whether this process is to be replaced."""
    warnings.simplefilter("ignore")
    logging.disable()
    resource.setrlimit(resource.RLIMIT_DATA, (_HARD_LIMIT, _HARD_LIMIT))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        while True:
            try:
                cases = pipe.recv()
            except EOFError:
                return
            for kind, seed in cases:
                outcome = run_trial(kind, seed, Path(folder) / "input")
                is_too_large = peak_bytes() > MAX_BYTES
                pipe.send((outcome, is_too_large))
                if is_too_large:
                    return
