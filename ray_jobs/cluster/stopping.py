# SPDX-License-Identifier: Apache-2.0
"""Stopping: end a job so that its run saves a checkpoint, and otherwise only where that is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable

from tadrib.ray_jobs.cluster.jobs import JobDetails, JobServer
from tadrib.training.errors import ClusterError, Problem

_SECONDS_TO_END = 60.0
_SECONDS_BETWEEN_LOOKS = 1.0


def stop_job(
    server: JobServer,
    job: JobDetails | None,
    directory: str,
    *,
    seconds: float,
    force: bool,
    note: Callable[[str], None],
) -> JobDetails | None:
    """Ask the driver to save and end; with ``force``, have Ray end a job that did not in ``seconds``.

    Returns the job as it is then. What the directory says counts once the job has ended: before, it may be the result
    of an earlier start. Raises ClusterError when the job goes on although Ray was to end it.
    """
    deadline = time.monotonic() + seconds
    while True:
        left = max(0.0, deadline - time.monotonic())
        server.call(["tadrib", "stop", directory, "--timeout", f"{left:.0f}"])
        if job is None:
            return None
        job = server.details(str(job.submission_id))
        if job.status.is_terminal() or time.monotonic() > deadline:
            break
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    if force and not job.status.is_terminal():
        note(f"ending {job.submission_id} by force")
        server.stop(str(job.submission_id))
        job = _ended(server, job)
    return job


def _ended(server: JobServer, job: JobDetails) -> JobDetails:
    deadline = time.monotonic() + _SECONDS_TO_END
    while not (details := server.details(str(job.submission_id))).status.is_terminal():
        if time.monotonic() > deadline:
            message = f"has not ended {_SECONDS_TO_END:.0f} seconds after it was told to."
            raise ClusterError("the job goes on", [Problem(str(job.submission_id), message)])
        time.sleep(0.5)
    return details
