# SPDX-License-Identifier: Apache-2.0
"""Cluster runs: those that were submitted to a Ray cluster.

The run directory may only be visible on the cluster. So its status is read there, by the same command in a short job.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from tadrib.ray_jobs.cluster.endings import combined, status_of_job
from tadrib.ray_jobs.cluster.follow import follow_job
from tadrib.ray_jobs.cluster.jobs import JobDetails, JobServer, JobStatus, directory_of, run_of
from tadrib.ray_jobs.cluster.stopping import stop_job
from tadrib.ray_jobs.cluster.submission import read_submission, submit
from tadrib.ray_jobs.console import print_note, print_text
from tadrib.ray_jobs.runs.interface import Submitted, Write
from tadrib.ray_jobs.runs.status import Status, read_output
from tadrib.training.errors import ClusterError, Problem, SpecError


class ClusterRuns:
    """Runs of the Ray cluster whose dashboard is at ``address``; see `Runs`."""

    def __init__(self, address: str, write: Write = print_text, note: Write = print_note) -> None:
        self._address, self._write, self._note = address, write, note

    @cached_property
    def _server(self) -> JobServer:
        return JobServer(self._address)

    @property
    def options(self) -> str:
        return f"--address {self._server.address}"

    @property
    def where(self) -> str:
        return f"on {self._server.address}"

    def submit(self, spec: Path, overrides: Sequence[str], *, fresh: bool = False) -> Submitted:
        import ray

        resume = shlex.join(["tadrib", "submit", str(spec), *overrides, "--address", self._address])
        submission = read_submission(spec, overrides, resume=resume, fresh=fresh)
        if (there := self._server.ray_version()) != ray.__version__:
            self._note(f"! the cluster runs Ray {there}, and this machine has {ray.__version__}")
        job, is_attached = submit(self._server, submission)
        how = "is running this spec already" if is_attached else "has been submitted"
        title = str(job.submission_id)
        return Submitted(submission.spec.name, title, f"{title} {how}: {self._server.address}")

    def status(self, run: str) -> Status:
        job, directory = self._find(run)
        if job is not None and job.status == JobStatus.PENDING:
            return status_of_job(job)
        status = self._ask(directory)
        return status if job is None else combined(job, status)

    def list(self) -> Sequence[Status]:
        """The newest job of every run, the newest first. If the cluster cannot run tadrib, with what Ray knows."""
        newest: dict[str, JobDetails] = {}
        for job in self._server.jobs():
            newest.setdefault(directory_of(job), job)
        found: dict[str, Status] = {}
        if newest:
            with suppress(ClusterError):
                call = self._server.call(["tadrib", "list", *newest, "--json"])
                found = {status.run_directory: status for status in read_output(call.output)}
        return [self._of_both(job, found.get(directory)) for directory, job in newest.items()]

    def logs(self, run: str, worker: int | None = None, *, follow: bool = False) -> Status | None:
        job, directory = self._find(run)
        if worker is None and job is not None:
            if follow:
                return self._ended(follow_job(self._server, job, self._write, self._note))
            self._write(self._server.log(str(job.submission_id)).partition(f"{job.entrypoint}\n")[2])
            return None
        command = ["tadrib", "logs", directory, *(["--worker", str(worker)] if worker is not None else [])]
        if follow:
            call = self._server.call([*command, "--follow"], watch=self._show)
        else:
            call = self._server.call(command)
            self._write(call.output)
        if call.exit_code == SpecError.exit_code:
            raise SpecError(f"there is no such log in {directory}, as the cluster sees it")
        return self._ask(directory) if follow and worker is None else None

    def stop(self, run: str, *, seconds: float, force: bool = False) -> Status:
        job, directory = self._find(run)
        self._note(f"asking {run} to save a checkpoint and stop")
        ended = stop_job(self._server, job, directory, seconds=seconds, force=force, note=self._note)
        status = self._ask(directory)
        return status if ended is None else combined(ended, status)

    def _find(self, run: str) -> tuple[JobDetails | None, str]:
        """The newest job of a run, given by its name or directory, and the directory. A run that was not submitted as a
        job is only known by its directory, and has no job. Raises SpecError for an unknown name."""
        if "/" in run:
            jobs = [job for job in self._server.jobs() if directory_of(job) == run.rstrip("/")]
            return (jobs[0] if jobs else None), run
        jobs = self._server.jobs(run)
        if not jobs:
            names = sorted({run_of(job) for job in self._server.jobs()})
            action = (
                f"It knows {', '.join(names)}." if names else "No run was submitted to it since it started."
            )
            problem = Problem(self._server.address, f"knows no run named {run}.", action)
            raise SpecError("no such run", [problem])
        return jobs[0], directory_of(jobs[0])

    def _ask(self, directory: str) -> Status:
        """The status of a run directory, read on the cluster."""
        call = self._server.call(["tadrib", "status", directory, "--json"])
        if found := read_output(call.output):
            return found[0]
        message = (
            f"tadrib there returned no status but exit code {call.exit_code}: {call.output.strip()[-300:]}"
        )
        raise ClusterError(
            "the cluster's answer was not understood", [Problem(self._server.address, message)]
        )

    def _ended(self, job: JobDetails) -> Status:
        """The final status of a job's run, worded as the line that follows its log."""
        status, title = status_of_job(job), job.submission_id
        if job.status == JobStatus.SUCCEEDED:
            status = combined(job, self._ask(status.run_directory))
        directory, place = status.run_directory, f"run directory: {status.run_directory}"
        match status.state:
            case "succeeded":
                return replace(status, words=f"{title} succeeded: {directory}")
            case "stopped":
                return replace(status, words=f"{title} was stopped", action=place)
            case _:
                return replace(status, words=f"{title} failed: {status.error}", action=place)

    def _of_both(self, job: JobDetails, status: Status | None) -> Status:
        known = status_of_job(job)
        if status is None or job.status == JobStatus.PENDING:
            return known
        both = combined(job, replace(status, name=known.name))
        return replace(both, method=both.method or known.method, start=both.start or known.start)

    def _show(self, server: JobServer, submission_id: str) -> None:
        follow_job(server, server.details(submission_id), self._write, self._note)
