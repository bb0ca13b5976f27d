# SPDX-License-Identifier: Apache-2.0
"""Job server: HTTP client of a Ray cluster's jobs, with errors that say what to do."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import requests
from ray.dashboard.modules.job.pydantic_models import JobDetails
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus

from tadrib.ray_jobs.address import is_listening
from tadrib.ray_jobs.authentication import refusal, use_token
from tadrib.ray_jobs.compat.ray_job_client import Client
from tadrib.ray_jobs.runs.contact import Unreachable
from tadrib.training.errors import ClusterError, Problem
from tadrib.training.waiting import wait_until

__all__ = ["Call", "JobDetails", "JobServer", "JobStatus", "SubmissionIdTaken"]

logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # it logs every connection

_SECONDS_BETWEEN_POLLS = 0.3
RUN, RUN_DIRECTORY, SPEC = "tadrib.run", "tadrib.run_directory", "tadrib.spec"  # keys of a job's metadata


def run_of(job: JobDetails) -> str:
    """The name of a job's run."""
    return (job.metadata or {})[RUN]


def directory_of(job: JobDetails) -> str:
    """The run directory, as the cluster sees it."""
    return (job.metadata or {})[RUN_DIRECTORY]


def has_ended(job: JobDetails) -> bool:
    return job.status.is_terminal()


class SubmissionIdTaken(Exception):
    """A job with this submission id exists already."""


@dataclass(frozen=True, slots=True)
class Call:
    """The result of a command that ran on the cluster."""

    exit_code: int
    output: str


class JobServer:
    """The dashboard at ``address``, such as ``http://head:8265``.

    Every method raises ClusterError if it cannot be reached or rejects our token.
    """

    def __init__(self, address: str) -> None:
        self.address = address if "://" in address else f"http://{address}"
        scheme, _, host = self.address.rstrip("/").partition("://")
        if scheme not in ("http", "https"):
            raise self._unreachable("is not an HTTP address.")
        port = "" if ":" in host.rpartition("]")[2] else ":443" if scheme == "https" else ":80"
        if not is_listening(f"{host}{port}"):
            raise self._unreachable("nothing answers there.")
        use_token()
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address  # else RAY_ADDRESS would override the argument
        with self._translated_errors():
            self._client = Client(self.address)

    def ray_version(self) -> str | None:
        return self._client.ray_version

    def jobs(self, run: str | None = None) -> list[JobDetails]:
        """Jobs of all runs submitted to this cluster, or of the runs with one name; the newest first."""
        with self._translated_errors():
            found = [job for job in self._client.list_jobs() if SPEC in (job.metadata or {})]
        found = [job for job in found if run is None or run_of(job) == run]
        return sorted(found, key=lambda job: job.start_time or 0, reverse=True)

    def ids(self) -> list[str]:
        """Submission ids of all jobs, also those of other programs."""
        with self._translated_errors():
            return [job.submission_id for job in self._client.list_jobs() if job.submission_id]

    def details(self, submission_id: str) -> JobDetails:
        with self._translated_errors():
            return self._client.get_job_info(submission_id)

    def submit(self, entrypoint: str, submission_id: str | None, metadata: dict[str, str]) -> str:
        """Start a job and return its id. Raises SubmissionIdTaken; of two submissions of one id, only one succeeds."""
        with self._translated_errors():
            try:
                return self._client.submit_job(
                    entrypoint=entrypoint, submission_id=submission_id, metadata=metadata
                )
            except RuntimeError as error:
                if "already exists" in str(error):
                    raise SubmissionIdTaken from error
                raise

    def stop(self, submission_id: str) -> None:
        """Make Ray end the job: SIGTERM, then SIGKILL a few seconds later."""
        with self._translated_errors():
            self._client.stop_job(submission_id)

    def log(self, submission_id: str) -> str:
        """The job's output so far, including the lines that Ray adds."""
        with self._translated_errors():
            return self._client.get_job_logs(submission_id)

    def tail(self, submission_id: str) -> AsyncIterator[str]:
        """The same as a stream from the first line on; ends with the job or the connection."""
        return self._client.tail_job_logs(submission_id)

    def call(self, command: Sequence[str], watch: Callable[[JobServer, str], None] | None = None) -> Call:
        """Run a short command on the cluster's head, as a job that is deleted afterwards.

        ``watch`` is called with the job's id, and returns when the job has ended.
        """
        entrypoint = shlex.join(command)
        job = self.submit(entrypoint, None, {"tadrib.command": command[1]})
        if watch is not None:
            watch(self, job)
        details = wait_until(lambda: self.details(job), has_ended, every=_SECONDS_BETWEEN_POLLS)
        output = self.log(job).partition(f"{entrypoint}\n")[2]
        code = 0 if details.status == JobStatus.SUCCEEDED else details.driver_exit_code
        with self._translated_errors():
            self._client.delete_job(job)
        if code is None or code == 127:
            raise ClusterError(
                "the cluster cannot run tadrib", [Problem(self.address, _why_not(details), _IMAGE)]
            )
        return Call(code, output)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except AuthenticationError as error:
            raise refusal(self.address) from error
        except (ConnectionError, requests.RequestException) as error:
            raise self._unreachable(
                f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            ) from error
        except RuntimeError as error:
            lines = [line for line in str(error).splitlines() if line.strip(" .")]
            message = f"answered: {lines[-1][:300] if lines else 'nothing'}"
            action = _GONE if "does not exist" in message else ""
            problem = Problem(self.address, message, action)
            raise ClusterError("the Ray cluster refused a request", [problem]) from error

    def _unreachable(self, message: str) -> Unreachable:
        action = "Give the address of the head's dashboard, such as http://head:8265."
        return Unreachable("the Ray cluster cannot be reached", [Problem(self.address, message, action)])


_GONE = "A restarted head does not know earlier jobs; submit the spec again to continue the run."
_IMAGE = "Code is not uploaded: install tadrib on every node, for instance through the cluster's image."


def _why_not(details: JobDetails) -> str:
    if details.driver_exit_code == 127:
        return "the command tadrib was not found on the head."
    lines = (details.message or "no reason was given").strip().splitlines()
    return f"{lines[0][:300]}."
