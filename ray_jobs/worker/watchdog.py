# SPDX-License-Identifier: Apache-2.0
"""Watchdog: ends a worker whose step hangs, after writing the stacks of all threads."""

from __future__ import annotations

import faulthandler
import os
import statistics
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tadrib.ray_jobs.events import Failure
from tadrib.ray_jobs.failures import HUNG, located_error
from tadrib.ray_jobs.worker.link import Link
from tadrib.training.run.names import worker_stacks

_SECONDS_BETWEEN_POLLS = 0.5
_STEPS_REMEMBERED = 50
_FIRST_STEPS = 3
"""Steps before there is a median to compare with. They also compile kernels and allocate memory, so their limit is ten
times ``hang_seconds``."""
_SECONDS_FOR_OTHER_WORKERS = 2.0
"""From writing the stacks to ending the process. Ray ends all workers once one is gone, and each should write first."""
EXIT_CODE = 70


class Watchdog(TrainerCallback):
    """Watches this worker's steps from a second thread, which runs while the main thread waits inside a collective.

    A worker that is frozen as a whole writes nothing. The others, which wait for it, do: the rank that is missing among
    the reports is the one that hangs (`ray_jobs.failures.hang_failure`).
    """

    def __init__(self, link: Link, rank: int, logs: Path, *, factor: float, seconds: float) -> None:
        self._link, self._rank, self._logs = link, rank, logs
        self._factor, self._seconds = factor, seconds
        self._main = threading.main_thread().ident
        self._times: deque[float] = deque(maxlen=_STEPS_REMEMBERED)
        self._step, self._began = 0, 0.0  # 0.0: no step is running, as during evaluation and saving
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._main = threading.get_ident()  # Ray Train runs the training loop in a thread of its own
        self._step, self._began = state.global_step + 1, time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._times.append(time.monotonic() - self._began)
        self._began = 0.0

    @property
    def limit(self) -> float:
        """Seconds after which a step counts as hung."""
        if len(self._times) < _FIRST_STEPS:
            return 10 * self._seconds
        return max(self._seconds, self._factor * statistics.median(self._times))

    def _watch(self) -> None:
        while True:
            time.sleep(_SECONDS_BETWEEN_POLLS)
            began = self._began
            if began and time.monotonic() - began > self.limit:
                self._abort(time.monotonic() - began)

    def _abort(self, seconds: float) -> None:
        file = self._logs / worker_stacks(self._rank)
        with file.open("a", encoding="utf-8") as stacks:
            print(
                f"step {self._step} has taken {seconds:.0f} s (limit {self.limit:.0f} s)",
                file=stacks,
                flush=True,
            )
            faulthandler.dump_traceback(
                file=stacks, all_threads=True
            )  # in C: works whatever the threads hold
        self._link.post(self._failure(seconds, file))
        self._link.flush(timeout=_SECONDS_FOR_OTHER_WORKERS)
        time.sleep(_SECONDS_FOR_OTHER_WORKERS)
        os._exit(EXIT_CODE)  # not sys.exit: cleaning up would wait for the collective that hangs

    def _failure(self, seconds: float, file: Path) -> Failure:
        median = f"; the median is {statistics.median(self._times):.2f} s" if self._times else ""
        frame = sys._current_frames().get(self._main or 0)
        place = "an unknown place"
        if frame is not None:
            innermost = traceback.extract_stack(frame)[-1]
            place = f"{innermost.filename}:{innermost.lineno} in {innermost.name}"

        message = f"step {self._step} has taken {seconds:.0f} s{median}"
        error = located_error(f"hung: {message}", place, file)
        return Failure(error, HUNG, message, place, str(file), rank=self._rank)
