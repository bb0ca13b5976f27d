# SPDX-License-Identifier: Apache-2.0
"""Following: a run on Kubernetes from wherever it is to its end, over retries, preemption and lost connections."""

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

_SECONDS_BETWEEN_LOOKS = 3.0
_SECONDS_UNREACHABLE = 300.0
_AGE = re.compile(r" (for|within) \d+ \w+( \d+ min)?")


def follow_rayjob(
    api: KubernetesApi,
    job: Object,
    write: Callable[[str], None],
    note: Callable[[str], None],
    *,
    pause: float = _SECONDS_BETWEEN_LOOKS,
    patience: float = _SECONDS_UNREACHABLE,
) -> Status:
    """Give ``write`` what the driver prints and ``note`` each change of state, and return how the run ended.

    Raises Unreachable when the API server has not answered for ``patience`` seconds.
    """
    log, contact = DriverLog(api, write), Contact(api.address, run_of(job), note, patience)
    said = ""

    def follow() -> Status | None:
        """The run once it has ended; None while it goes on or cannot be looked at."""
        nonlocal said
        try:
            told = _look(api, job, log)
            contact.answered()
        except Unreachable as error:
            contact.lost(error)
            return None
        if told.has_ended:
            return told
        if _AGE.sub("", told.sentence + told.action) != said:
            note(f"{told.sentence}\n  {told.action}" if told.action else told.sentence)
        said = _AGE.sub("", told.sentence + told.action)
        return None

    ended = wait_until(follow, every=pause)
    assert ended is not None  # without a timeout, only the run's end ends the wait
    return ended


def _look(api: KubernetesApi, job: Object, log: DriverLog) -> Status:
    """How the run is doing now, after what its driver has printed was passed on."""
    try:
        now = api.get(rayjobs_path(api.namespace, job["metadata"]["name"]))
    except NotFound:
        name = run_of(job)
        if others := [
            each for each in list_jobs(api, name) if each["metadata"]["uid"] != job["metadata"].get("uid")
        ]:
            return Status(
                "stopped", name, f"{name} goes on as RayJob {others[0]['metadata']['name']}", _AGAIN
            )
        return Status("stopped", name, f"{name} was stopped: its RayJob has been deleted", _AGAIN)
    found = read_objects(api, now)
    told = explain(found, datetime.now(UTC))
    if (now.get("status") or {}).get("jobStatus"):
        log.take(found)
    if now["metadata"].get(
        "deletionTimestamp"
    ):  # its driver may still be saving, and another may take its place
        return replace(told, state="running")
    if told.has_ended:
        return explain(found, datetime.now(UTC), ask(api, found))
    return told


_AGAIN = "Submit it again to follow it, or to continue from its last checkpoint."
