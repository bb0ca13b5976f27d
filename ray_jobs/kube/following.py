# SPDX-License-Identifier: Apache-2.0
"""Following: follows a run on Kubernetes from its current state to its end, through retries, preemption and lost
connections."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from tadrib.ray_jobs.kube.api import KubernetesApi, NotFound
from tadrib.ray_jobs.kube.head import ask
from tadrib.ray_jobs.kube.logs import DriverLog
from tadrib.ray_jobs.kube.status.explain import explain
from tadrib.ray_jobs.kube.status.objects import Object, list_jobs, rayjobs_path, read_objects, run_of
from tadrib.ray_jobs.runs.contact import Contact, Unreachable
from tadrib.ray_jobs.runs.status import Status
from tadrib.training.waiting import wait_until

_SECONDS_BETWEEN_POLLS = 3.0
_SECONDS_UNREACHABLE = 300.0
_AGE = re.compile(r" (for|within) \d+ \w+( \d+ min)?")


def follow_rayjob(
    api: KubernetesApi,
    job: Object,
    write: Callable[[str], None],
    note: Callable[[str], None],
    *,
    pause: float = _SECONDS_BETWEEN_POLLS,
    timeout: float = _SECONDS_UNREACHABLE,
) -> Status:
    """Pass the driver's output to ``write`` and each change of state to ``note``; return the final status.

    Raises Unreachable if the API server has not answered for ``timeout`` seconds.
    """
    log, contact = DriverLog(api, write), Contact(api.address, run_of(job), note, timeout)
    said = ""

    def follow() -> Status | None:
        """The final status; None while the run has not ended, or cannot be read."""
        nonlocal said
        try:
            status = _look(api, job, log)
            contact.answered()
        except Unreachable as error:
            contact.lost(error)
            return None
        if status.has_ended:
            return status
        # a sentence that only grew older is not repeated
        if (text := _AGE.sub("", status.sentence + status.action)) != said:
            note(f"{status.sentence}\n  {status.action}" if status.action else status.sentence)
        said = text
        return None

    ended = wait_until(follow, every=pause)
    assert ended is not None  # without a timeout, only the run's end ends the wait
    return ended


def _look(api: KubernetesApi, job: Object, log: DriverLog) -> Status:
    """The current status, after new output of the driver was passed on."""
    try:
        now = api.get(rayjobs_path(api.namespace, job["metadata"]["name"]))
    except NotFound:
        name = run_of(job)
        if others := [
            each for each in list_jobs(api, name) if each["metadata"]["uid"] != job["metadata"].get("uid")
        ]:
            return Status(
                "stopped", name, f"{name} continues as RayJob {others[0]['metadata']['name']}", _AGAIN
            )
        return Status("stopped", name, f"{name} was stopped: its RayJob has been deleted", _AGAIN)
    found = read_objects(api, now)
    status = explain(found, datetime.now(UTC))
    if (now.get("status") or {}).get("jobStatus"):
        log.take(found)
    # its driver may still be saving, and another RayJob may replace it
    if now["metadata"].get("deletionTimestamp"):
        return replace(status, state="running")
    if status.has_ended:
        return explain(found, datetime.now(UTC), ask(api, found))
    return status


_AGAIN = "Submit it again to follow it, or to continue from its last checkpoint."
