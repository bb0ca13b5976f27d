# SPDX-License-Identifier: Apache-2.0
"""Kubernetes runs: one Helm release per run in one namespace; their RayJobs give their status."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tadrib.ray_jobs.console import print_note, print_text
from tadrib.ray_jobs.kube.api import KubernetesApi
from tadrib.ray_jobs.kube.control import stop_rayjob
from tadrib.ray_jobs.kube.following import follow_rayjob
from tadrib.ray_jobs.kube.head import ask
from tadrib.ray_jobs.kube.logs import write_log
from tadrib.ray_jobs.kube.release import read_release
from tadrib.ray_jobs.kube.status.explain import explain
from tadrib.ray_jobs.kube.status.objects import (
    RunObjects,
    find_job,
    list_jobs,
    read_all_objects,
    read_objects,
    read_specs,
    run_of,
)
from tadrib.ray_jobs.kube.status.units import moment
from tadrib.ray_jobs.kube.submitting import submit
from tadrib.ray_jobs.runs.interface import Submitted, Write
from tadrib.ray_jobs.runs.status import Status
from tadrib.training.config import JobSpec
from tadrib.training.errors import Problem, SpecError


class KubernetesRuns:
    """Runs in a ``namespace`` (by default that of the ``context``) of the kubeconfig's cluster; see `Runs`.

    For `submit`: ``values`` are files with the platform's settings, and ``queue`` is the name of a queue.
    """

    def __init__(
        self,
        namespace: str | None = None,
        context: str | None = None,
        values: Sequence[Path] = (),
        queue: str | None = None,
        write: Write = print_text,
        note: Write = print_note,
    ) -> None:
        self._namespace, self._context, self._values, self._queue = namespace, context, values, queue
        self._write, self._note = write, note

    @cached_property
    def api(self) -> KubernetesApi:
        return KubernetesApi(self._namespace, self._context)

    @property
    def options(self) -> str:
        context = ["--context", self._context] if self._context else []
        return shlex.join(["--kubernetes", "--namespace", self.api.namespace, *context])

    @property
    def where(self) -> str:
        return f"in namespace {self.api.namespace}"

    def submit(self, spec: Path, overrides: Sequence[str], *, fresh: bool = False) -> Submitted:
        if fresh:
            message = "requires access to the run directory, which is on the cluster; use a new name=…."
            raise SpecError("the run cannot be started over", [Problem("--fresh", message)])
        settings: dict[str, Any] = {"values": self._values, "queue": self._queue}
        read_release(spec, overrides, namespace="default", **settings)  # before a cluster is needed
        release = read_release(
            spec, overrides, namespace=self.api.namespace, context=self._context, **settings
        )
        job, is_attached = submit(self.api, release)
        how = "is running this spec already" if is_attached else "has been submitted"
        place = f"RayJob {job['metadata']['name']} in namespace {self.api.namespace}"
        return Submitted(release.name, release.name, f"{release.name} {how}: {place}")

    def status(self, run: str) -> Status:
        found = read_objects(self.api, find_job(self.api, run))
        return explain(found, datetime.now(UTC), ask(self.api, found))

    def list(self) -> Sequence[Status]:
        """The newest RayJob of every run, the newest first, without commands in the heads."""
        newest = {run_of(job): job for job in reversed(list_jobs(self.api))}
        objects = read_all_objects(self.api, [*reversed(newest.values())])
        specs = read_specs(self.api) if objects else {}
        return [_with_spec(each, specs.get(each.job["metadata"]["name"])) for each in objects]

    def logs(self, run: str, worker: int | None = None, *, follow: bool = False) -> Status | None:
        job = find_job(self.api, run)
        if follow and worker is None:
            return follow_rayjob(self.api, job, self._write, self._note)
        if follow:
            message = "the log of a worker on Kubernetes cannot be followed; omit --follow."
            raise SpecError("no such log", [Problem("--worker", message)])
        write_log(self.api, read_objects(self.api, job), worker, self._write)
        return None

    def stop(self, run: str, *, seconds: float, force: bool = False) -> Status:
        return stop_rayjob(self.api, run, seconds=seconds, force=force, note=self._note)


def _with_spec(found: RunObjects, spec: JobSpec | None) -> Status:
    """The status of a run from its objects, with method and model from its spec."""
    status, began = found.job.get("status") or {}, None
    if text := (status.get("rayJobInfo") or {}).get("startTime") or status.get("startTime"):
        began = moment(text)
    return replace(
        explain(found, datetime.now(UTC)),
        method=spec.method if spec else None,
        start=spec.config.model_name if spec else None,
        started=began.timestamp() if began else None,
    )
