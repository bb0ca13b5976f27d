# SPDX-License-Identifier: Apache-2.0
"""Supervisor: runs Ray Train in the background and, in front, follows the run and answers Ctrl-C."""

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
from tadrib.ray_jobs.events import Failure, Metrics, Outcome, ReadyToResize, Started, Step, WorkersFailed
from tadrib.ray_jobs.failures import HUNG, of_hung
from tadrib.ray_jobs.worker.loop import WorkerJob, train_loop
from tadrib.training.config import JobSpec
from tadrib.training.model.hub import names_hub
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.fence import Fence

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_BETWEEN_VISITS, _OUTSIDE_STEPS = 1.0, 0.25  # to workers, of which each takes a millisecond of theirs
_SECONDS_TO_ANSWER, _SECONDS_TO_END = 0.5, 2.0
_SECONDS_TO_NEW_NODES = 30.0  # between looks whether an elastic run can have other workers
_SECONDS_TO_STOP_FILE, _FAR = 1.0, 5.0  # between looks for it, on a disk and in an object store


class Supervisor:
    """Follows one run of ``spec``; metrics go to the run directory while ``fence`` allows, everything else to the
    display. ``lost`` is set when the fence no longer does."""

    def __init__(
        self, spec: JobSpec, run: RunDirectory, display: Display, fence: Fence, lost: threading.Event
    ) -> None:
        self._spec, self._run, self._display, self._fence, self._lost = spec, run, display, fence, lost
        self._mailbox, self._trainer = ray_trainer(display)
        self._failure: Failure | None = None
        self._hung: list[Failure] = []
        self._workers = spec.world_size
        self._gone = self._started = self._is_resized = False
        self._looked_for_stop = self._visited = time.monotonic()
        self._gauges = Gauges(spec)
        self._interrupts = self._answered = 0
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None

    def train(self, prepared: Future[None]) -> Outcome:
        """Block until training ends. Workers start at once and wait until the data are ``prepared``.

        Raises what went wrong with the data, or WorkersFailed; KeyboardInterrupt when asked to stop a second time,
        or before the first step.
        """
        training = self._training()
        thread = threading.Thread(target=self._fit, args=[training], name="ray-train", daemon=True)
        with self._interrupts_counted():
            thread.start()
            try:
                while thread.is_alive():
                    self._let_go_when(prepared)
                    self._look_for_stop()
                    if self._lost.is_set():
                        raise self._fence.error()
                    if self._answer_interrupts() or self._visit_is_due():
                        self._collect()
                    thread.join(_SECONDS_BETWEEN_LOOKS)
                self._collect()
            finally:
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
            # after a loss Ray asks for all workers first, and settles for those there are when this time is over
            os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "30")
        run_config: Any = RunConfig  # mypy sees the signature of Ray Train's first version
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
                failure_config=FailureConfig(max_failures=self._spec.max_failures),
                worker_runtime_env={"env_vars": {"TQDM_DISABLE": "1"}},  # bars make a mess of log files
            ),
        )

    # --- in front

    def _visit_is_due(self) -> bool:
        """Outside the steps workers wait for orders, or for their last words to be taken."""
        seconds = _SECONDS_BETWEEN_VISITS if self._display.in_steps else _OUTSIDE_STEPS
        return time.monotonic() - self._visited >= seconds

    def _collect(self) -> None:
        """Take in what the workers have to tell."""
        self._visited = time.monotonic()
        events = self._mailbox.collect(timeout=_SECONDS_TO_ANSWER)
        if self._run.store is None and any(isinstance(event, (Metrics, Started)) for event in events):
            self._fence.require()  # in a store the metrics are a copy, which its mirror keeps back
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
            elif isinstance(event, Started):
                self._note_restart()
                self._count_workers(event.workers)
                self._run.metrics.rewind(event.step or -1, event.history)
            self._display.show(event)

    def _note_restart(self) -> None:
        """The first start of workers needs no word; another means that those before failed or that nodes changed."""
        if self._is_resized and self._failure is None:
            self._display.note("workers start again: nodes have come or gone", style="yellow")
        elif self._started:
            reason = self._failure.message if self._failure else "the process of a worker died"
            self._display.note(f"workers start again: {reason}", style="yellow")
            self._gauges.restarted()
        self._started, self._is_resized, self._failure, self._hung = True, False, None, []

    def _count_workers(self, workers: int) -> None:
        self._workers = workers
        if workers != self._spec.world_size:
            self._display.note(
                f"{workers} of {self._spec.world_size} workers are there; a step keeps its rows",
                style="yellow",
            )

    def _take_failure(self, failure: Failure) -> None:
        """Keep the first failure of an attempt; of a step that hung, all workers' words together are one."""
        if failure.kind == HUNG:
            self._hung.append(failure)
            self._failure = of_hung(self._hung, self._workers)
        else:
            self._failure = self._failure or failure

    def _let_go_when(self, prepared: Future[None]) -> None:
        if prepared.done() and not self._gone:
            prepared.result()
            self._gone = True
            fetched = names_hub(self._spec.config)
            self._display.enter_phase(f"starting workers{', which fetch the model' if fetched else ''}")
            self._mailbox.let_go()

    def stop(self) -> None:
        """As Ctrl-C; from any thread."""
        self._interrupts += 1

    def _look_for_stop(self) -> None:
        """A file in the run directory asks to stop as Ctrl-C does, from wherever that directory can be written."""
        now = time.monotonic()
        if now - self._looked_for_stop < (_SECONDS_TO_STOP_FILE if self._run.store is None else _FAR):
            return
        self._looked_for_stop = now
        if not self._interrupts and self._run.files.is_asked_to_stop():
            self.stop()

    def _answer_interrupts(self) -> bool:
        """Whether there were any."""
        if self._interrupts == self._answered:
            return False
        self._answered = self._interrupts
        self._mailbox.request_stop()
        if self._interrupts > 1 or self._display.step is None:
            raise KeyboardInterrupt
        wait = "this step" if self._display.in_steps else self._display.phase
        self._display.note(f"stopping after {wait}; press again to abort", style="yellow")
        self._display.enter_phase("stopping")
        return True

    @contextmanager
    def _interrupts_counted(self) -> Iterator[None]:
        """Count SIGINT and SIGTERM instead of dying of them; outside the main thread there are no signals."""
        if threading.current_thread() is not threading.main_thread():
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
