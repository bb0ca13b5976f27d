# SPDX-License-Identifier: Apache-2.0
"""Control: stops a run on Kubernetes so that it saves a checkpoint and KubeRay does not restart it."""

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

_SECONDS_BETWEEN_POLLS = 2.0
_SECONDS_BETWEEN_REQUESTS = 20.0


def stop_rayjob(
    api: KubernetesApi,
    run: str,
    *,
    seconds: float,
    force: bool,
    note: Note,
    pause: float = _SECONDS_BETWEEN_POLLS,
) -> Status:
    """Make the run save a checkpoint and end, and return how it ended. A run that has ended is left alone.

    A running driver is asked to stop, and given the time of its step and its checkpoint; the RayJob is kept and records
    how the run ended. Without a driver, or without permission to ask it, the RayJob is deleted: KubeRay then interrupts
    the driver, which has platform.grace.drainSeconds to save.

    Raises TrainingError if the run is still running after ``seconds`` and ``force`` is not given.
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
            note(f"its driver cannot be reached, so RayJob {name} is deleted, which interrupts it")
            return _delete(api, name, run, deadline, pause)
        case _ if not force:
            raise _goes_on(run, seconds)
        case _:
            note(f"deleting RayJob {name}")
            return _delete(api, name, run, time.monotonic() + seconds, pause)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The state of a run that is to stop. ``leaving``: its RayJob is being deleted. ``unreachable``: its driver cannot
    be asked to stop."""

    state: Literal["running", "ended", "leaving", "unreachable"]
    found: RunObjects


class _Request:
    """Asks the driver of ``run`` to stop, repeatedly: a driver that was just starting may have missed a request."""

    def __init__(self, api: KubernetesApi, run: str, note: Note) -> None:
        self._api, self._run, self._note = api, run, note
        self._asked, self._is_last_start = -math.inf, False

    def look(self) -> _Seen:
        """The run's current state. Asks its driver if the last request is `_SECONDS_BETWEEN_REQUESTS` old."""
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
            self._note(f"asking {run_of(found.job)} to save a checkpoint and stop")
        head = Head(self._api, found)
        # without retries: a stop makes the driver exit with 130, which KubeRay counts as a failure and would retry
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
    """Wait until the RayJob and its pods are gone. The pods save their checkpoint before they end."""
    pods = f"/api/v1/namespaces/{api.namespace}/pods"

    def is_gone() -> bool:
        path = rayjobs_path(api.namespace, name)
        return not (api.exists(path) or api.list(pods, labelSelector=f"{OBJECT}={name}"))

    if not wait_until(is_gone, timeout=deadline - time.monotonic(), every=pause):
        action = "Pods have platform.grace.terminationSeconds to end; check again with `kubectl get pods`."
        problem = Problem(name, "has been deleted, but its pods still exist.", action)
        raise TrainingError("the run is still ending", [problem])
    action = f"Submit it again to continue from its last checkpoint; `helm uninstall {run}` removes its other objects."
    return Status("stopped", run, f"{run} was stopped, and its RayJob {name} was deleted", action)


def _goes_on(run: str, seconds: float) -> TrainingError:
    message = f"was asked to stop, and is still running after {seconds:g} seconds."
    action = "It stops after its current step; wait longer with --timeout, or delete it with --force."
    return TrainingError("the run is still running", [Problem(run, message, action)])
