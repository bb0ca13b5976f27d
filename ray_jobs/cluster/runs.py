# SPDX-License-Identifier: Apache-2.0
"""Cluster runs: runs that were submitted to a Ray cluster, by what their job and their run directory say together.

The run directory may be visible on the cluster alone, so it is asked there: by the same command, as a job of
a second or two.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.console import Console

from tadrib.ray_jobs.cluster.follow import follow
from tadrib.ray_jobs.cluster.jobs import JobDetails, JobServer, JobStatus, directory_of, run_of
from tadrib.ray_jobs.runs.status import RunStatus
from tadrib.training.errors import ClusterError, Problem, SpecError, StoppedError, TadribError, TrainingError

_SECONDS_TO_END = 60.0
_SECONDS_BETWEEN_LOOKS = 1.0


def find(server: JobServer, run: str) -> tuple[JobDetails | None, str]:
    """The newest job of a run, given by its name or its directory, and the directory. A directory may be of
    a run that was started in another way, without a job that we know. Raises SpecError for an unknown name."""
    if "/" in run:
        jobs = [job for job in server.jobs() if directory_of(job) == run.rstrip("/")]
        return (jobs[0] if jobs else None), run
    jobs = server.jobs(run)
    if not jobs:
        names = sorted({run_of(job) for job in server.jobs()})
        action = f"It knows {', '.join(names)}." if names else "No run was submitted to it since it started."
        problem = Problem(server.address, f"knows no run named {run}.", action)
        raise SpecError("no such run", [problem])
    return jobs[0], directory_of(jobs[0])


def cluster_status(server: JobServer, run: str) -> RunStatus:
    job, directory = find(server, run)
    if job is not None and job.status == JobStatus.PENDING:
        return RunStatus("waiting", directory, name=run)
    status = _ask(server, directory)
    return status if job is None else together(job, status)


def together(job: JobDetails, status: RunStatus) -> RunStatus:
    """What the job and the run directory say, neither of which is the whole truth.

    A job that succeeded is no success without a result that says so; a job that ended has no driver any more,
    however fresh its heartbeat; and a result may be that of an earlier start.
    """
    if not job.status.is_terminal():
        return status if status.state in ("running", "succeeded") else replace(status, state="waiting")
    if status.state == "succeeded" and job.driver_exit_code != 2:
        return status
    if job.status == JobStatus.SUCCEEDED:
        error = "Ray says that its job succeeded, and there is no result.json that says so of the run"
        return replace(status, state="failed", error=error)
    if job.status == JobStatus.STOPPED or job.driver_exit_code == 130:
        return replace(status, state="stopped", error=None)
    known = status.error if status.state == "failed" and job.driver_exit_code == 1 else None
    return replace(status, state="failed", error=known or reason(job))


def reason(job: JobDetails) -> str:
    """Why a job failed, as far as Ray knows."""
    code = job.driver_exit_code
    if code == 127:
        return "the command tadrib is not found on the cluster's head; every node needs it, as in one image"
    if code is None:
        return (job.message or "Ray gives no reason").strip().splitlines()[0]
    known = {1: "training failed", 2: "it was refused before training", 3: "no Ray cluster could be joined"}
    if code < 0 or code > 128:
        return f"its driver was killed (exit code {code}), perhaps for want of memory"
    return known.get(code, f"its driver ended with exit code {code}")


def conclude(server: JobServer, job: JobDetails) -> RunStatus:
    """The outcome of a job that has ended and whose log was shown.

    Raises the error whose exit code says how it ended, unless the run succeeded.
    """
    directory = directory_of(job)
    if job.status == JobStatus.SUCCEEDED:
        status = together(job, _ask(server, directory))
        if status.state == "succeeded":
            return status
        raise TrainingError(f"{job.submission_id} failed: {status.error}\n  run directory: {directory}")
    if job.status == JobStatus.STOPPED or job.driver_exit_code == 130:
        raise StoppedError(f"{job.submission_id} was stopped\n  run directory: {directory}")
    kinds: dict[int | None, type[TadribError]] = {2: SpecError, 3: ClusterError}
    kind = kinds.get(job.driver_exit_code, TrainingError)
    raise kind(f"{job.submission_id} failed: {reason(job)}\n  run directory: {directory}")


def cluster_stop(
    server: JobServer, run: str, *, seconds: float, force: bool, note: Callable[[str], None]
) -> RunStatus:
    """Ask the driver to save and end; with ``force``, have Ray end a job that did not in ``seconds``.

    What the directory says counts once the job has ended: before, it may be the result of an earlier start.
    """
    job, directory = find(server, run)
    note(f"asking {run} to save a checkpoint and end")
    deadline = time.monotonic() + seconds
    while True:
        left = max(0.0, deadline - time.monotonic())
        server.call(["tadrib", "stop", directory, "--timeout", f"{left:.0f}"])
        if job is None:
            return _ask(server, directory)
        job = server.details(str(job.submission_id))
        if job.status.is_terminal() or time.monotonic() > deadline:
            break
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    if force and not job.status.is_terminal():
        note(f"ending {job.submission_id} by force")
        server.stop(str(job.submission_id))
        job = _ended(server, job)
    return together(job, _ask(server, directory))


def cluster_logs(
    server: JobServer, run: str, worker: int | None, *, is_followed: bool, note: Callable[[str], None]
) -> None:
    """Print what the driver has shown, or a worker's log; ``is_followed``: until the run ends."""
    job, directory = find(server, run)
    if worker is None and job is not None:
        if is_followed:
            follow(server, job, print_piece, note)
        else:
            print_piece(server.log(str(job.submission_id)).partition(f"{job.entrypoint}\n")[2])
        return
    command = ["tadrib", "logs", directory, *(["--worker", str(worker)] if worker is not None else [])]
    if is_followed:
        call = server.call([*command, "--follow"], watch=lambda server, job: _show(server, job, note))
    else:
        call = server.call(command)
        print_piece(call.output)
    if call.exit_code:
        raise SpecError(f"there is no such log in {directory}, as the cluster sees it")


def print_piece(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _show(server: JobServer, submission_id: str, note: Callable[[str], None]) -> None:
    follow(server, server.details(submission_id), print_piece, note)


def _ask(server: JobServer, directory: str) -> RunStatus:
    """The status of a run directory, as the cluster sees it."""
    call = server.call(["tadrib", "status", directory, "--json"])
    for line in reversed(call.output.splitlines()):
        if line.startswith("{"):
            return RunStatus(**json.loads(line))
    message = f"its tadrib gave no status, and exit code {call.exit_code}: {call.output.strip()[-300:]}"
    raise ClusterError("the cluster was not understood", [Problem(server.address, message)])


def _ended(server: JobServer, job: JobDetails) -> JobDetails:
    deadline = time.monotonic() + _SECONDS_TO_END
    while not (details := server.details(str(job.submission_id))).status.is_terminal():
        if time.monotonic() > deadline:
            message = f"has not ended {_SECONDS_TO_END:.0f} seconds after it was told to."
            raise ClusterError("the job goes on", [Problem(str(job.submission_id), message)])
        time.sleep(0.5)
    return details


def jobs_of_all_runs(server: JobServer) -> Sequence[JobDetails]:
    """The newest job of every run, the newest first."""
    newest: dict[str, JobDetails] = {}
    for job in server.jobs():
        newest.setdefault(directory_of(job), job)
    return list(newest.values())


def print_jobs(jobs: Sequence[JobDetails]) -> None:
    """One line a run: its name, its newest job, and what Ray says of that."""
    console = Console(highlight=False)
    for job in jobs:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime((job.start_time or 0) / 1000))
        line = f"{run_of(job)}  {job.status.value}  {job.submission_id}  {began}"
        console.print(line, soft_wrap=True)
