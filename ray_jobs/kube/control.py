# SPDX-License-Identifier: Apache-2.0
"""Control: end a run on Kubernetes, so that it saves a checkpoint and is not started again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from tadrib.ray_jobs.kube.api import Forbidden, KubernetesApi, NotFound, Refused
from tadrib.ray_jobs.kube.head import Head, ask
from tadrib.ray_jobs.kube.status.explain import explain
from tadrib.ray_jobs.kube.status.objects import OBJECT, find_job, rayjobs_path, read_objects, run_of
from tadrib.ray_jobs.runs.status import Status
from tadrib.training.errors import Problem, TrainingError

Note = Callable[[str], None]

_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_BETWEEN_REQUESTS = 20.0


def stop_rayjob(
    api: KubernetesApi,
    run: str,
    *,
    seconds: float,
    force: bool,
    note: Note,
    pause: float = _SECONDS_BETWEEN_LOOKS,
) -> Status:
    """Have the run save a checkpoint and end, and return how it did; one that has ended is left alone.

    While its driver runs, that is asked to stop, for as long as the step and the checkpoint take. The RayJob stays
    and says how it ended. A run without a driver, or one that may not be asked, is ended by deleting its RayJob:
    KubeRay interrupts the driver first, which then has platform.grace.drainSeconds.

    Raises TrainingError when the run goes on after ``seconds`` and ``force`` is not given.
    """
    deadline = time.monotonic() + seconds
    asked, is_sealed = -_SECONDS_BETWEEN_REQUESTS, False
    while True:
        job = find_job(api, run)
        found = read_objects(api, job)
        told = explain(found, datetime.now(UTC))
        name = job["metadata"]["name"]
        if told.has_ended and not job["metadata"].get("deletionTimestamp"):
            return explain(found, datetime.now(UTC), ask(api, found))
        if job["metadata"].get("deletionTimestamp"):
            return _deleted(api, name, run_of(job), deadline, pause)
        if time.monotonic() > deadline:
            if not force:
                raise _goes_on(run_of(job), seconds)
            note(f"deleting RayJob {name}")
            return _delete(api, name, run_of(job), time.monotonic() + seconds, pause)
        if time.monotonic() - asked >= _SECONDS_BETWEEN_REQUESTS:
            if not is_sealed:
                note(f"asking {run_of(job)} to save a checkpoint and end")
            try:
                head = Head(api, found)
                # else KubeRay would take the stop for a failure, and start the run again
                api.patch(rayjobs_path(api.namespace, name), {"spec": {"backoffLimit": 0}})
                is_sealed = True
                head.run("tadrib", "stop", head.directory, "--timeout", "2")
                asked = time.monotonic()
            except (Forbidden, NotFound, Refused):
                note(f"its driver cannot be asked, so RayJob {name} is deleted, which interrupts it")
                return _delete(api, name, run_of(job), deadline, pause)
        time.sleep(pause)


def _delete(api: KubernetesApi, name: str, run: str, deadline: float, pause: float) -> Status:
    with suppress(NotFound):
        api.delete(rayjobs_path(api.namespace, name))
    return _deleted(api, name, run, deadline, pause)


def _deleted(api: KubernetesApi, name: str, run: str, deadline: float, pause: float) -> Status:
    """Wait until the RayJob and its pods are gone. The pods' last minute is that of the checkpoint."""
    pods = f"/api/v1/namespaces/{api.namespace}/pods"
    while api.exists(rayjobs_path(api.namespace, name)) or api.list(pods, labelSelector=f"{OBJECT}={name}"):
        if time.monotonic() > deadline:
            action = "Pods have platform.grace.terminationSeconds; look again with `kubectl get pods`."
            problem = Problem(name, "has been deleted, and its pods are still there.", action)
            raise TrainingError("the run is still ending", [problem])
        time.sleep(pause)
    action = (
        f"Submit it again to continue from its last checkpoint; `helm uninstall {run}` removes what is left."
    )
    return Status("stopped", run, f"{run} was stopped, and its RayJob {name} is gone", action)


def _goes_on(run: str, seconds: float) -> TrainingError:
    message = f"has been asked to stop and still ran after {seconds:g} seconds."
    action = "It stops after its step; wait with a longer --timeout, or delete it with --force."
    return TrainingError("the run goes on", [Problem(run, message, action)])
