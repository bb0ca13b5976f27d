# SPDX-License-Identifier: Apache-2.0
"""Endings: the status of a run on a Ray cluster, from its job and its run directory combined."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tadrib.ray_jobs.cluster.jobs import SPEC, JobDetails, JobStatus, directory_of, run_of
from tadrib.ray_jobs.runs.status import NO_RESULT, State, Status


def combined(job: JobDetails, status: Status) -> Status:
    """The status from job and run directory, neither of which is sufficient alone.

    A job that succeeded counts only with a result that confirms it. A job that ended has no driver any more, however
    recent the last heartbeat. And a result may be that of an earlier launch.
    """
    status = replace(status, driver_exit_code=job.driver_exit_code)
    if not job.status.is_terminal():
        return status if status.state in ("running", "succeeded") else replace(status, state="waiting")
    if status.state == "succeeded" and job.driver_exit_code != 2:
        return status
    if job.status == JobStatus.SUCCEEDED:
        return replace(status, state="failed", error=NO_RESULT)
    if job.status == JobStatus.STOPPED or job.driver_exit_code == 130:
        return replace(status, state="stopped", error=None)
    known = status.error if status.state == "failed" and job.driver_exit_code == 1 else None
    return replace(status, state="failed", error=known or failure_reason(job))


def status_of_job(job: JobDetails) -> Status:
    """The status from the job alone: that it is running, or how it ended, as far as Ray knows."""
    metadata = job.metadata or {}
    spec: dict[str, Any] = json.loads(metadata.get(SPEC) or "{}")
    states: dict[JobStatus, State] = {
        JobStatus.PENDING: "waiting",
        JobStatus.RUNNING: "running",
        JobStatus.SUCCEEDED: "succeeded",
    }
    status = Status(
        "missing",
        run_of(job),
        run_directory=directory_of(job),
        method=spec.get("method"),
        start=spec.get("model_name"),
        started=(job.start_time or 0) / 1000 or None,
    )
    if job.status in states:
        return replace(status, state=states[job.status], driver_exit_code=job.driver_exit_code)
    return combined(job, status)


def failure_reason(job: JobDetails) -> str:
    """Why a job failed, as far as Ray knows."""
    code = job.driver_exit_code
    if code == 127:
        return "the command tadrib was not found on the cluster's head; every node needs it, so use one image"
    if code is None:
        return (job.message or "Ray gives no reason").strip().splitlines()[0]
    known = {1: "training failed", 2: "it was refused before training", 3: "no Ray cluster could be joined"}
    if code < 0 or code > 128:
        return f"its driver was killed (exit code {code}), perhaps because memory ran out"
    return known.get(code, f"its driver ended with exit code {code}")
