# SPDX-License-Identifier: Apache-2.0
"""Local runs: trained on this machine, and followed and stopped through their run directory alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tadrib.ray_jobs.console import print_note, print_text
from tadrib.ray_jobs.runs.interface import Submitted, Write
from tadrib.ray_jobs.runs.lookup import find, runs_here
from tadrib.ray_jobs.runs.reading import read_status
from tadrib.ray_jobs.runs.status import Status
from tadrib.training.errors import Problem, SpecError, TrainingError
from tadrib.training.run.files import RunFiles
from tadrib.training.run.names import DRIVER_LOG, LOGS, worker_log
from tadrib.training.waiting import wait_until

_SECONDS_BETWEEN_POLLS = 1.0
_PARALLEL = 16


class LocalRuns:
    """Runs given by a path or URL that can be read from here, or by name under ``./runs``; see `Runs`."""

    options, where = "", "under ./runs"

    def __init__(self, write: Write = print_text, note: Write = print_note) -> None:
        self._write, self._note = write, note

    def submit(self, spec: Path, overrides: Sequence[str], *, fresh: bool = False) -> Submitted:
        """Train here, and return when training has ended. Raises what `launch` does."""
        from tadrib.ray_jobs.driver.launch import launch
        from tadrib.training.config import load_spec

        command = shlex.join(["tadrib", "train", str(spec), *overrides])
        result = launch(load_spec(spec, overrides), command=command, fresh=fresh)
        return Submitted(result.name, result.name, f"{result.name} has {result.status}")

    def status(self, run: str) -> Status:
        """Raises nothing: a run that does not exist has the state ``missing``, with the nearest name."""
        return read_status(find(run))

    def list(self) -> Sequence[Status]:
        with ThreadPoolExecutor(_PARALLEL) as threads:  # a driver's heartbeat may take seconds to wait for
            return list(threads.map(read_status, runs_here()))

    def logs(self, run: str, worker: int | None = None, *, follow: bool = False) -> Status | None:
        files = find(run)
        name, position = DRIVER_LOG if worker is None else worker_log(worker), 0

        def show_news() -> Status:
            """Write what has come since the last look: whole lines, and the rest once the run has ended."""
            nonlocal position
            status = _existing(files)
            is_over = not follow or status.has_ended
            content = files.read(f"{LOGS}/{name}", position)
            if content is None and is_over:
                raise _no_log(files, name)
            whole = len(content or b"") if is_over else (content or b"").rfind(b"\n") + 1
            if content and whole:
                position += whole
                self._write(content[:whole].decode("utf-8", errors="replace"))
            return status

        status = wait_until(
            show_news, lambda status: not follow or status.has_ended, every=_SECONDS_BETWEEN_POLLS
        )
        return status if follow and worker is None else None

    def stop(self, run: str, *, seconds: float, force: bool = False) -> Status:
        """Only the driver can end a local run: ``force`` has no effect.

        Raises TrainingError if it is still running after ``seconds``.
        """
        files = find(run)
        status = _existing(files)
        if status.has_ended:
            return status
        self._note(f"asking {status.name} to save a checkpoint and stop")

        def ask() -> Status:
            if not files.is_asked_to_stop():  # a driver that was just starting may have removed the request
                files.ask_to_stop()
            return read_status(files)

        status = wait_until(
            ask, lambda status: status.has_ended, timeout=seconds, every=_SECONDS_BETWEEN_POLLS
        )
        if not status.has_ended:
            message = f"was asked to stop, and is still running after {seconds:g} seconds."
            action = "It stops after its current step; wait longer with --timeout."
            raise TrainingError("the run is still running", [Problem(status.name, message, action)])
        return status


def _existing(files: RunFiles) -> Status:
    """The status of a run. Raises SpecError if the directory holds none."""
    status = read_status(files)
    if status.state != "missing":
        return status
    action = "Give a run directory, a name under ./runs, or a name and the --address of its cluster."
    if status.nearest:
        action = f"Did you mean {status.nearest}?"
    raise SpecError("no such run", [Problem(status.run_directory, "holds no run.", action)])


def _no_log(files: RunFiles, name: str) -> SpecError:
    there = files.names(LOGS)
    action = f"There are {', '.join(there)}." if there else "No log has been written."
    return SpecError("no such log", [Problem(files.place(LOGS, name), "does not exist.", action)])
