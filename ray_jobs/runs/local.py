# SPDX-License-Identifier: Apache-2.0
"""Run control: stop a run, or show its logs, through its directory alone."""

from __future__ import annotations

import time
from collections.abc import Callable

from tadrib.ray_jobs.runs.status import RunStatus, read_status
from tadrib.training.errors import Problem, SpecError, TrainingError
from tadrib.training.run.files import RunFiles
from tadrib.training.run.names import DRIVER_LOG, LOGS, worker_log

_SECONDS_BETWEEN_LOOKS = 1.0


def stop_run(run: RunFiles, *, seconds: float, note: Callable[[str], None]) -> RunStatus:
    """Ask the driver of ``run`` to save and end, and return how it ended; a run that has ended is left alone.

    Raises SpecError when there is no run, TrainingError when it goes on after ``seconds``.
    """
    status = read_status(run)
    require_run(status)
    if status.has_ended:
        return status
    note(f"asking {status.name} to save a checkpoint and end")
    deadline = time.monotonic() + seconds
    while not status.has_ended:
        if time.monotonic() > deadline:
            message = f"has been asked to stop and still ran after {seconds:g} seconds."
            action = "It stops after its step; wait with a longer --timeout."
            raise TrainingError("the run goes on", [Problem(status.name, message, action)])
        if not run.is_asked_to_stop():  # a driver that was just starting may have cleared it away
            run.ask_to_stop()
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        status = read_status(run)
    return status


def print_log(run: RunFiles, worker: int | None, *, is_followed: bool, write: Callable[[str], None]) -> None:
    """Give ``write`` the log of the driver or of a worker; ``is_followed``: until the run ends.

    Raises SpecError when there is no such run or log.
    """
    require_run(read_status(run))
    name = DRIVER_LOG if worker is None else worker_log(worker)
    place, position = f"{LOGS}/{name}", 0
    while True:
        goes_on = is_followed and not read_status(run).has_ended
        content = run.read(place, position)
        if content is None and not goes_on:
            raise _no_log(run, name)
        whole = len(content or b"") if not goes_on else (content or b"").rfind(b"\n") + 1
        if content and whole:
            position += whole
            write(content[:whole].decode("utf-8", errors="replace"))
        if not goes_on:
            return
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def require_run(status: RunStatus) -> None:
    """Raise SpecError when nothing was ever started in the directory."""
    if status.state == "missing":
        action = (
            f"Did you mean {status.nearest}?"
            if status.nearest
            else "Give a run directory, a name under ./runs, or a name and the --address of its cluster."
        )
        raise SpecError("no such run", [Problem(status.run_directory, "holds no run.", action)])


def _no_log(run: RunFiles, name: str) -> SpecError:
    there = run.names(LOGS)
    action = f"There are {', '.join(there)}." if there else "No log has been written."
    return SpecError("no such log", [Problem(run.place(LOGS, name), "does not exist.", action)])
