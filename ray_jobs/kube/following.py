# SPDX-License-Identifier: Apache-2.0
"""Following: a run on Kubernetes from wherever it is to its end, over retries, preemption and lost connections."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from tadrib.ray_jobs.kube.api import KubernetesApi, NotFound, Unreachable
from tadrib.ray_jobs.kube.head import ask
from tadrib.ray_jobs.kube.logs import DriverLog
from tadrib.ray_jobs.kube.status.explain import explain
from tadrib.ray_jobs.kube.status.kube_status import KubeStatus
from tadrib.ray_jobs.kube.status.objects import Object, list_jobs, rayjobs_path, read_objects, run_of
from tadrib.training.errors import ClusterError, Problem, SpecError, StoppedError, TadribError, TrainingError

_SECONDS_BETWEEN_LOOKS = 3.0
_SECONDS_UNREACHABLE = 300.0
_AGE = re.compile(r" (for|within) \d+ \w+( \d+ min)?")


def follow(
    api: KubernetesApi,
    job: Object,
    write: Callable[[str], None],
    note: Callable[[str], None],
    *,
    pause: float = _SECONDS_BETWEEN_LOOKS,
    patience: float = _SECONDS_UNREACHABLE,
) -> KubeStatus:
    """Give ``write`` what the driver prints and ``note`` each change of state, and return how the run ended.

    Raises Unreachable when the API server has not answered for ``patience`` seconds.
    """
    log, told_before, answered = DriverLog(api, write), "", time.monotonic()
    while True:
        try:
            told = _look(api, job, log)
            answered = time.monotonic()
        except Unreachable as error:
            if time.monotonic() - answered > patience:
                raise _lost(api, job, patience) from error
            told = None
        said = f"{api.address} does not answer; trying again" if told is None else _words(told)
        if _AGE.sub("", said) != told_before and not (told and told.has_ended):
            note(said)
        told_before = _AGE.sub("", said)
        if told is not None and told.has_ended:
            return told
        time.sleep(pause)


def _look(api: KubernetesApi, job: Object, log: DriverLog) -> KubeStatus:
    """How the run is doing now, after what its driver has printed was passed on."""
    try:
        now = api.get(rayjobs_path(api.namespace, job["metadata"]["name"]))
    except NotFound:
        name = run_of(job)
        if others := [
            each for each in list_jobs(api, name) if each["metadata"]["uid"] != job["metadata"].get("uid")
        ]:
            return KubeStatus(
                "stopped", name, f"{name} goes on as RayJob {others[0]['metadata']['name']}", _AGAIN
            )
        return KubeStatus("stopped", name, f"{name} was stopped: its RayJob has been deleted", _AGAIN)
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


def conclude(told: KubeStatus) -> None:
    """Raise the error whose exit code says how the run ended, unless it succeeded."""
    if told.state == "succeeded":
        return
    text = _words(told)
    if told.state == "stopped":
        raise StoppedError(text)
    kinds: dict[int | None, type[TadribError]] = {2: SpecError, 3: ClusterError}
    raise kinds.get(told.driver_exit_code, TrainingError)(text)


def _words(told: KubeStatus) -> str:
    return f"{told.sentence}\n  {told.action}" if told.action else told.sentence


def _lost(api: KubernetesApi, job: Object, patience: float) -> Unreachable:
    message = f"has not answered for {patience:.0f} seconds; the run may go on."
    action = "Run the same command again to follow it."
    return Unreachable(f"lost sight of {run_of(job)}", [Problem(api.address, message, action)])
