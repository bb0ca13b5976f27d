# SPDX-License-Identifier: Apache-2.0
"""Supervisor: runs Ray Train in a background thread; in the main thread, follows the run and handles Ctrl-C.

The main loop is woken every 0.1 seconds. It tells workers when the data is prepared, polls them for events, looks for
the stop file, and counts interrupts. The first interrupt saves a checkpoint and stops; the second, or one before the
first step, aborts.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig

from tadrib.ray_jobs.driver.capacity import worker_bundle
from tadrib.ray_jobs.driver.display import Display
from tadrib.ray_jobs.driver.gauges import Gauges
from tadrib.ray_jobs.driver.process_group import ProcessGroup
from tadrib.ray_jobs.driver.ray_trainer import ray_trainer
from tadrib.ray_jobs.events import (
    AttemptStarted,
    Failure,
    Metrics,
    Outcome,
    ReadyToResize,
    Step,
    WorkersFailed,
)
from tadrib.ray_jobs.failures import HUNG, hang_failure
from tadrib.ray_jobs.worker.loop import WorkerJob, train_loop
from tadrib.training.config import JobSpec
from tadrib.training.model.hub import names_hub
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.fence import Fence

_SECONDS_BETWEEN_POLLS = 0.1  # of the main loop, and so the longest delay of Ctrl-C
_SECONDS_BETWEEN_WORKER_POLLS, _OUTSIDE_STEPS = (
    1.0,
    0.25,
)  # of workers; a poll takes about a millisecond of a worker's time
_SECONDS_TO_ANSWER, _SECONDS_TO_END = 0.5, 2.0  # for workers to answer a poll, and for Ray Train to abort
_SECONDS_TO_NEW_NODES = 30.0  # between checks whether an elastic run can be resized
_SECONDS_TO_STOP_FILE, _IN_STORE = 1.0, 5.0  # between checks for it, on a file system and in an object store


class Supervisor:
    """Supervises one launch of ``spec``. Metrics go to the run directory, everything else to the display.

    ``fence`` allows writes while this launch holds the lock; ``lost`` is set when another launch has taken it over.
    """

    def __init__(
        self, spec: JobSpec, run: RunDirectory, display: Display, fence: Fence, lost: threading.Event
    ) -> None:
        self._spec, self._run, self._display, self._fence, self._lost = spec, run, display, fence, lost
        self._mailbox, self._trainer = ray_trainer(display)
        self._failure: Failure | None = None
        self._hung: list[Failure] = []
        self._workers = spec.world_size
        self._has_data = self._started = self._is_resized = False
        self._checked_stop_file = self._polled = time.monotonic()
        self._gauges = Gauges(spec)
        self._interrupts = self._answered = 0
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None

    def train(self, prepared: Future[None]) -> Outcome:
        """Block until training ends. Workers start at once, and wait until the data is ``prepared``.

        Raises the error of preparing the data, or WorkersFailed; KeyboardInterrupt if interrupted a second time, or
        before the first step; TakenOverError if another launch has taken the run over.
        """
        training = self._training()
        thread = threading.Thread(target=self._fit, args=[training], name="ray-train", daemon=True)
        with self._interrupts_counted():
            thread.start()
            try:
                while thread.is_alive():
                    self._start_workers_when(prepared)
                    self._check_stop_file()
                    if self._lost.is_set():
                        raise self._fence.error()
                    if self._answer_interrupts() or self._poll_is_due():
                        self._poll_workers()
                    thread.join(_SECONDS_BETWEEN_POLLS)
                # the last events, which workers flush before they return
                self._poll_workers()
            finally:
                # on any error: without it, workers would go on until Ray is shut down
                training.abort()
                thread.join(_SECONDS_TO_END)
        if self._error is not None or self._outcome is None:
            raise WorkersFailed(self._failure, self._error or RuntimeError("no worker reported an outcome"))
        return self._outcome

    # --- in the background

    def _fit(self, training: Any) -> None:
        try:
            result: Any = training.fit()
            self._outcome = result.return_value
        except BaseException as error:
            self._error = error

    def _training(self) -> Any:
        resources = self._spec.resources
        on_gpu = resources.gpus_per_worker > 0
        count: Any = resources.max_workers
        if resources.elastic:
            count = (resources.min_workers, resources.max_workers)
            # after losing a node Ray first requests all workers, and settles for fewer after this time
            os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "30")
        run_config: Any = RunConfig  # mypy sees the signature of Ray Train V1
        scaling_config: Any = ScalingConfig
        return self._trainer(
            train_loop,
            mailbox=self._mailbox,
            train_loop_config={"job": WorkerJob(self._spec, str(self._run), self._fence.token)},
            torch_config=ProcessGroup(
                self._spec.config.ddp_backend or ("nccl" if on_gpu else "gloo"), models_of=self._spec.config
            ),
            scaling_config=scaling_config(
                num_workers=count,
                use_gpu=on_gpu,
                resources_per_worker=worker_bundle(resources),
                elastic_resize_monitor_interval_s=_SECONDS_TO_NEW_NODES,
            ),
            run_config=run_config(
                name=self._spec.name,
                storage_path=str(self._run.path / ".ray"),
                # Ray does not count preemptions and resizes as failures
                failure_config=FailureConfig(max_failures=self._spec.max_failures),
                worker_runtime_env={"env_vars": {"TQDM_DISABLE": "1"}},  # progress bars clutter log files
            ),
        )

    # --- in the main thread

    def _poll_is_due(self) -> bool:
        """More often outside of training steps, where workers wait for orders or for their events to be taken."""
        seconds = _SECONDS_BETWEEN_WORKER_POLLS if self._display.in_steps else _OUTSIDE_STEPS
        return time.monotonic() - self._polled >= seconds

    def _poll_workers(self) -> None:
        """Collect the workers' events and act on them, in the order in which each worker posted its own."""
        self._polled = time.monotonic()
        events = self._mailbox.collect(timeout=_SECONDS_TO_ANSWER)
        if self._run.store is None and any(isinstance(event, (Metrics, AttemptStarted)) for event in events):
            self._fence.require()  # a run in an object store has its own local copy; the mirror checks the fence
        for event in events:
            if isinstance(event, Metrics):
                self._run.metrics.append(event.row)
                self._gauges.show(event)
            elif isinstance(event, Step):
                self._gauges.advance(event)
            elif isinstance(event, Failure):
                self._take_failure(event)
            elif isinstance(event, ReadyToResize):
                self._is_resized = True
            elif isinstance(event, AttemptStarted):
                # the rows after that step were computed by the previous attempt, and will be computed again
                self._announce_restart()
                self._count_workers(event.workers)
                self._run.metrics.rewind(event.step or -1, event.history)
            self._display.show(event)

    def _announce_restart(self) -> None:
        """Say why workers start again: a resize, or a failure of the previous attempt. The first start has no note."""
        if self._is_resized and self._failure is None:
            self._display.note("workers restart: the number of nodes has changed", style="yellow")
        elif self._started:
            reason = self._failure.message if self._failure else "the process of a worker died"
            self._display.note(f"workers restart: {reason}", style="yellow")
            self._gauges.restarted()
        self._started, self._is_resized, self._failure, self._hung = True, False, None, []

    def _count_workers(self, workers: int) -> None:
        self._workers = workers
        if workers != self._spec.world_size:
            self._display.note(
                f"{workers} of {self._spec.world_size} workers are available; the global batch size stays the same",
                style="yellow",
            )

    def _take_failure(self, failure: Failure) -> None:
        """Keep the first failure of an attempt: others usually follow from it. Reports of a hang become one failure."""
        if failure.kind == HUNG:
            self._hung.append(failure)
            self._failure = hang_failure(self._hung, self._workers)
        else:
            self._failure = self._failure or failure

    def _start_workers_when(self, prepared: Future[None]) -> None:
        if prepared.done() and not self._has_data:
            prepared.result()
            self._has_data = True
            fetched = names_hub(self._spec.config)
            self._display.enter_phase(f"starting workers{', which fetch the model' if fetched else ''}")
            self._mailbox.set_data_ready()

    def stop(self) -> None:
        """Act as on Ctrl-C; from any thread, or from a signal handler."""
        self._interrupts += 1

    def _check_stop_file(self) -> None:
        """A file named ``stop`` in the run directory acts as Ctrl-C does: `tadrib stop` may run on any machine."""
        now = time.monotonic()
        if now - self._checked_stop_file < (_SECONDS_TO_STOP_FILE if self._run.store is None else _IN_STORE):
            return
        self._checked_stop_file = now
        if not self._interrupts and self._run.files.is_asked_to_stop():
            self.stop()

    def _answer_interrupts(self) -> bool:
        """Handle new interrupts; returns whether there were any. Raises KeyboardInterrupt to abort."""
        if self._interrupts == self._answered:
            return False
        self._answered = self._interrupts
        self._mailbox.request_stop()
        # before the first step there is nothing to save, and workers may be minutes from hearing of it
        if self._interrupts > 1 or self._display.step is None:
            raise KeyboardInterrupt
        wait = "this step" if self._display.in_steps else self._display.phase
        self._display.note(f"stopping after {wait}; press Ctrl-C again to abort", style="yellow")
        self._display.enter_phase("stopping")
        return True

    @contextmanager
    def _interrupts_counted(self) -> Iterator[None]:
        """Within the context, count SIGINT and SIGTERM. Only the main thread can handle signals."""
        if threading.current_thread() is not threading.main_thread():  # as in a notebook or a test
            yield
            return

        def count(*_: Any) -> None:
            self.stop()

        before = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
