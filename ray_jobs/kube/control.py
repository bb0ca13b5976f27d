# SPDX-License-Identifier: Apache-2.0
"""Control: end a run on Kubernetes, so that it saves a checkpoint and is not started again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from tadrib.ray_jobs.kube.api import Forbidden, KubernetesApi, NotFound, Refused
from tadrib.ray_jobs.kube.head import Head, ask
from tadrib.ray_jobs.kube.status.explain import explain
from tadrib.ray_jobs.kube.status.objects import (
    OBJECT,
    RunObjects,
    find_job,
    rayjobs_path,
    read_objects,
    run_of,
)
from tadrib.ray_jobs.runs.status import Status
from tadrib.training.errors import Problem, TrainingError
from tadrib.training.waiting import wait_until

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
    request = _Request(api, run, note)
    seen = wait_until(request.look, lambda seen: seen.state != "running", timeout=seconds, every=pause)
    name, run = seen.found.job["metadata"]["name"], run_of(seen.found.job)
    match seen.state:
        case "ended":
            return explain(seen.found, datetime.now(UTC), ask(api, seen.found))
        case "leaving":
            return _deleted(api, name, run, deadline, pause)
        case "unreachable":
            note(f"its driver cannot be asked, so RayJob {name} is deleted, which interrupts it")
            return _delete(api, name, run, deadline, pause)
        case _ if not force:
            raise _goes_on(run, seconds)
        case _:
            note(f"deleting RayJob {name}")
            return _delete(api, name, run, time.monotonic() + seconds, pause)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run that is to stop: ``leaving`` means that its RayJob is being deleted, ``unreachable`` that its driver cannot
    be asked."""

    state: Literal["running", "ended", "leaving", "unreachable"]
    found: RunObjects


class _Request:
    """Asks the driver of ``run`` to stop, again and again: one that was just starting may not have heard."""

    def __init__(self, api: KubernetesApi, run: str, note: Note) -> None:
        self._api, self._run, self._note = api, run, note
        self._asked, self._is_last_start = -math.inf, False

    def look(self) -> _Seen:
        """The run now; asks its driver where the last request is `_SECONDS_BETWEEN_REQUESTS` old."""
        found = read_objects(self._api, find_job(self._api, self._run))
        if found.job["metadata"].get("deletionTimestamp"):
            return _Seen("leaving", found)
        if explain(found, datetime.now(UTC)).has_ended:
            return _Seen("ended", found)
        if time.monotonic() - self._asked >= _SECONDS_BETWEEN_REQUESTS:
            try:
                self._ask(found)
            except (Forbidden, NotFound, Refused):
                return _Seen("unreachable", found)
        return _Seen("running", found)

    def _ask(self, found: RunObjects) -> None:
        if not self._is_last_start:
            self._note(f"asking {run_of(found.job)} to save a checkpoint and end")
        head = Head(self._api, found)
        # else KubeRay would take the stop for a failure, and start the run again
        path = rayjobs_path(self._api.namespace, found.job["metadata"]["name"])
        self._api.patch(path, {"spec": {"backoffLimit": 0}})
        self._is_last_start = True
        head.run("tadrib", "stop", head.directory, "--timeout", "2")
        self._asked = time.monotonic()


def _delete(api: KubernetesApi, name: str, run: str, deadline: float, pause: float) -> Status:
    with suppress(NotFound):
        api.delete(rayjobs_path(api.namespace, name))
    return _deleted(api, name, run, deadline, pause)


def _deleted(api: KubernetesApi, name: str, run: str, deadline: float, pause: float) -> Status:
    """Wait until the RayJob and its pods are gone. The pods' last minute is that of the checkpoint."""
    pods = f"/api/v1/namespaces/{api.namespace}/pods"

    def is_gone() -> bool:
        path = rayjobs_path(api.namespace, name)
        return not (api.exists(path) or api.list(pods, labelSelector=f"{OBJECT}={name}"))

    if not wait_until(is_gone, timeout=deadline - time.monotonic(), every=pause):
        action = "Pods have platform.grace.terminationSeconds; look again with `kubectl get pods`."
        problem = Problem(name, "has been deleted, and its pods are still there.", action)
        raise TrainingError("the run is still ending", [problem])
    action = (
        f"Submit it again to continue from its last checkpoint; `helm uninstall {run}` removes what is left."
    )
    return Status("stopped", run, f"{run} was stopped, and its RayJob {name} is gone", action)


def _goes_on(run: str, seconds: float) -> TrainingError:
    message = f"has been asked to stop and still ran after {seconds:g} seconds."
    action = "It stops after its step; wait with a longer --timeout, or delete it with --force."
    return TrainingError("the run goes on", [Problem(run, message, action)])
