# SPDX-License-Identifier: Apache-2.0
"""Launch: one execution of a run's driver, from the spec to ``result.json``.

A run may take several launches, each of the same command; a launch may take several attempts, each with new workers.
"""

from __future__ import annotations

import threading
import time
import traceback
from typing import Any, Literal

from tadrib.ray_jobs import disk
from tadrib.ray_jobs.address import require_reachable
from tadrib.ray_jobs.driver.display import Display
from tadrib.ray_jobs.driver.plan import Plan
from tadrib.ray_jobs.driver.preparation import in_background, prepare
from tadrib.ray_jobs.driver.summary import print_finished, print_summary, shown
from tadrib.ray_jobs.events import Failure, Outcome, WorkersFailed
from tadrib.ray_jobs.failures import describe, report, worker_failure
from tadrib.ray_jobs.inputs import require_inputs
from tadrib.ray_jobs.mirror import Mirror, state_files
from tadrib.ray_jobs.runs.lock import locked
from tadrib.ray_jobs.runs.prepared_rows import changed_datasets
from tadrib.ray_jobs.runs.resumption import begin, finished, set_aside
from tadrib.ray_jobs.streams import output_sent_to
from tadrib.ray_jobs.trackers import require_trackers
from tadrib.training.adapters.starting_point import starting_point
from tadrib.training.config import JobSpec
from tadrib.training.errors import StoppedError, TrainingError
from tadrib.training.notices import forwarded
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.fence import Fence
from tadrib.training.run.names import DRIVER_LOG
from tadrib.training.run.result import Result
from tadrib.training.run.source_rows import SourceRows
from tadrib.training.run.versions import versions


def launch(spec: JobSpec, *, command: str | None = None, fresh: bool = False, timeout: float = 0.0) -> Result:
    """Train ``spec`` on Ray and return the result, which is also in the run directory.

    A run that stopped or failed continues from its latest checkpoint; one that has finished is not trained again.
    ``fresh`` moves the existing run aside and starts over. ``command`` is what the user typed, shown as the way to
    resume. For up to ``timeout`` seconds, waits for a previous launch that is still saving, and for nodes to join.

    Raises:
        SpecError, DataError, ResourceError, ClusterError: refused before any worker started, or by a worker.
        TrainingError: training started and failed; also recorded in ``result.json``.
        StoppedError: the user stopped it.
    """
    run = RunDirectory(spec.run_dir)
    run.pull()  # spec, metrics and result, from a run in an object store
    result = None if fresh else finished(spec, run)
    if result is not None:
        print_finished(result, run, changed_datasets(spec, run))
        return result
    # cheap checks first: all of them end within seconds, before the lock is taken or anything is written
    require_trackers(spec.config)
    require_reachable()
    require_inputs(spec, has_rows=run.latest_checkpoint() is not None and not fresh)
    disk.check_space(run, spec.config)
    run.create()
    # set by the lock's thread when another launch takes the run over; the supervisor then ends this one
    lost = threading.Event()
    with locked(run, on_loss=lost.set, timeout=timeout) as fence:
        if fresh:
            set_aside(run)
        with output_sent_to(run.logs / DRIVER_LOG) as screen, Display(screen) as display:
            this = _Launch(
                spec, run, display, fence, lost, command or f"tadrib train {shown(run.spec_file)}", timeout
            )
            with forwarded(display.warn):
                begin(spec, run)
                with Mirror(run, lambda: [] if fence.is_lost() else state_files(run)):
                    result = this.run()
            # within the redirection, so that the summary is in driver.log too
            display.close()
            print_summary(display.console, result, run)
    return result


class _Launch:
    """One launch of ``spec`` in ``run``; ``command`` launches it again."""

    def __init__(
        self,
        spec: JobSpec,
        run: RunDirectory,
        display: Display,
        fence: Fence,
        lost: threading.Event,
        command: str,
        timeout: float,
    ) -> None:
        self._spec, self._run, self._display, self._command = spec, run, display, command
        self._fence, self._lost, self._timeout = fence, lost, timeout
        self._began = time.monotonic()

    def run(self) -> Result:
        """Train, and record the result whatever it is."""
        try:
            outcome = self._train()
            if not outcome.stopped:
                self._require_complete(outcome)
        except KeyboardInterrupt as error:  # a second Ctrl-C, or one before the first step
            raise self._stopped("aborted") from error
        except Exception as error:
            failure = self._failure(error)
            self._record("failed", error=report(failure), resume=self._command)
            raise failure.error from error
        if outcome.stopped:  # workers saved a checkpoint and returned
            raise self._stopped("stopped")
        evaluation = held_out(outcome.evaluation or {}) or None
        return self._record(
            "succeeded",
            metrics=outcome.metrics,
            evaluation=evaluation,
            tokens=outcome.tokens,
            path=outcome.path,
        )

    def _train(self) -> Outcome:
        self._introduce()
        plan = Plan.of(self._spec, self._run)
        for notice in plan.notices:
            self._display.warn(notice)
        spec = plan.spec
        # in parallel: preparing the data uses the CPU, while starting Ray mostly waits
        prepared = in_background(lambda: prepare(spec, self._run, self._display))
        from tadrib.ray_jobs.driver.capacity import require_capacity
        from tadrib.ray_jobs.driver.ray_cluster import cluster

        # capacity is checked without waiting for the data: a run that cannot fit fails first
        with cluster(spec.resources) as is_own:
            require_capacity(spec.resources, joined=not is_own, timeout=self._timeout)
            if not is_own:
                from tadrib.ray_jobs.driver.preflight import check_nodes

                check_nodes(spec, self._run)
                prepared.result()  # a shared cluster must not start workers or add nodes for bad data
            from tadrib.ray_jobs.driver.supervisor import Supervisor

            return Supervisor(spec, self._run, self._display, self._fence, self._lost).train(prepared)

    def _introduce(self) -> None:
        spec = self._spec
        together = spec.resources.workers_together
        workers = f"{spec.world_size} worker{'s' if spec.world_size > 1 else ''}"
        workers += f", {together} on a node" if together > 1 else ""
        self._display.note(
            f"{spec.name}: {spec.method} of {spec.config.model_name} with {workers}", style="bold"
        )

    def _require_complete(self, outcome: Outcome) -> None:
        # Ray reports success for any loop that returned
        if outcome.steps_done < outcome.steps_planned:
            raise TrainingError(f"training ended after step {outcome.steps_done} of {outcome.steps_planned}")
        if damage := self._run.final_damage():
            raise TrainingError(f"training ended without complete weights in {self._run.final}: {damage}")

    def _failure(self, error: Exception) -> Failure:
        if isinstance(error, WorkersFailed):
            return worker_failure(error, self._run, at=self._position())
        return describe(error, self._run, log=self._run.logs / DRIVER_LOG)

    def _position(self) -> str:
        step = self._display.step
        return f"step {step.done} of {step.planned}" if step else "the start, before training"

    def _stopped(self, how: str) -> StoppedError:
        self._record("stopped", resume=self._command)
        checkpoint = self._run.latest_checkpoint()
        kept = f"latest checkpoint: {shown(checkpoint)}" if checkpoint else "there is no checkpoint yet"
        return StoppedError(f"{how} at {self._position()}\n  {kept}\n  continue with: {self._command}")

    def _record(self, status: Literal["succeeded", "failed", "stopped"], **facts: Any) -> Result:
        """Write and return ``result.json``. A full disk leaves none; a success then becomes a ResourceError.

        Raises TakenOverError, and writes nothing, if another launch has taken the run over.
        """
        self._fence.require()
        # from the display and the metrics, as a failed run has no outcome
        step, rows = self._display.step, self._run.metrics.read()
        seconds = round(time.monotonic() - self._began, 3)
        facts.setdefault("tokens", max((row.get("num_tokens", 0) for row in rows), default=0))
        result = Result(
            status=status,
            name=self._spec.name,
            method=self._spec.method,
            start=starting_point(self._spec.config),
            started=round(time.time() - seconds, 3),
            steps_done=step.done if step else 0,
            steps_planned=step.planned if step else None,
            evaluation_before=next(
                (found for row in rows if row["step"] == 0 and (found := held_out(row))), None
            ),
            sources=SourceRows.of_report(self._run.data / "report.json"),
            wall_seconds=seconds,
            num_workers=self._spec.world_size,
            warnings=self._display.warnings,
            versions=versions(),
            **facts,
        )
        try:
            self._run.write_result(result)
        except OSError as error:
            # a failure is already being raised, and says more than a full disk
            if status == "succeeded":
                raise disk.full(self._run) from error
        if rows:
            self._draw(result)
        return result

    def _draw(self, result: Result) -> None:
        """Write ``report.html``; a run does not fail because of its pictures."""
        self._display.enter_phase("finishing")
        try:
            from tadrib.training.run.report import write_report

            write_report(self._run, result)
        except Exception:
            traceback.print_exc()


def held_out(row: dict[str, Any]) -> dict[str, float]:
    """The metrics on held-out rows, without the speed of the evaluation itself."""
    speeds = ("_runtime", "_per_second")
    return {key: value for key, value in row.items() if key.startswith("eval_") and not key.endswith(speeds)}
