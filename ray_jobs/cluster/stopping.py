# SPDX-License-Identifier: Apache-2.0
"""Stopping: ends a job so that its run saves a checkpoint; kills it only on request."""

from __future__ import annotations

import time
from collections.abc import Callable

from tadrib.ray_jobs.cluster.jobs import JobDetails, JobServer, has_ended
from tadrib.training.errors import ClusterError, Problem
from tadrib.training.waiting import wait_until

_SECONDS_TO_END = 60.0
_SECONDS_BETWEEN_POLLS = 1.0


def stop_job(
    server: JobServer,
    job: JobDetails | None,
    directory: str,
    *,
    seconds: float,
    force: bool,
    note: Callable[[str], None],
) -> JobDetails | None:
    """Ask the driver to save a checkpoint and end; with ``force``, kill a job that has not ended after ``seconds``.

    Returns the job as it is then. Only after the job has ended does the run directory tell how: before, its result may
    be that of an earlier launch. Raises ClusterError if even Ray does not end the job.
    """
    deadline = time.monotonic() + seconds

    def ask() -> JobDetails | None:
        left = max(0.0, deadline - time.monotonic())
        server.call(["tadrib", "stop", directory, "--timeout", f"{left:.0f}"])
        return None if job is None else server.details(str(job.submission_id))

    asked = wait_until(
        ask, lambda job: job is None or has_ended(job), timeout=seconds, every=_SECONDS_BETWEEN_POLLS
    )
    if asked is None or has_ended(asked) or not force:
        return asked
    note(f"ending {asked.submission_id} by force")
    server.stop(str(asked.submission_id))
    return _ended(server, asked)


def _ended(server: JobServer, job: JobDetails) -> JobDetails:
    details = wait_until(
        lambda: server.details(str(job.submission_id)), has_ended, timeout=_SECONDS_TO_END, every=0.5
    )
    if not has_ended(details):
        message = f"has not ended {_SECONDS_TO_END:.0f} seconds after Ray was told to end it."
        raise ClusterError("the job is still running", [Problem(str(job.submission_id), message)])
    return details
