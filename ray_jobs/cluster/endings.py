# SPDX-License-Identifier: Apache-2.0
"""Endings: how a run on a Ray cluster is doing, by what its job and its run directory say together."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tadrib.ray_jobs.cluster.jobs import SPEC, JobDetails, JobStatus, directory_of, run_of
from tadrib.ray_jobs.runs.status import NO_RESULT, State, Status


def together(job: JobDetails, status: Status) -> Status:
    """What the job and the run directory say, neither of which is the whole truth.

    A job that succeeded is no success without a result that says so; a job that ended has no driver any more,
    however fresh its heartbeat; and a result may be that of an earlier start.
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
    return replace(status, state="failed", error=known or reason(job))


def of_job(job: JobDetails) -> Status:
    """What the job alone says of its run: that it runs, or how it ended, as far as Ray knows."""
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
    return together(job, status)


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
