# SPDX-License-Identifier: Apache-2.0
"""Submitting: installs the run of a spec on Kubernetes, unless it is already running there."""

from __future__ import annotations

from datetime import UTC, datetime

from tadrib.ray_jobs.kube.api import KubernetesApi, NotFound
from tadrib.ray_jobs.kube.release import Release
from tadrib.ray_jobs.kube.status.explain import explain
from tadrib.ray_jobs.kube.status.objects import Object, RunObjects, list_jobs, read_spec
from tadrib.training.config import parse_spec
from tadrib.training.config.problems.differences import differences
from tadrib.training.config.yaml.file import parse_yaml
from tadrib.training.errors import ClusterError, Problem, SpecError


def submit(api: KubernetesApi, release: Release) -> tuple[Object, bool]:
    """The RayJob that runs the spec, and whether it was already running.

    Raises SpecError if the spec or the values are refused, or another spec runs under the name.
    """
    if job := _running_job(api, release):
        return job, True
    release.apply()
    return list_jobs(api, release.name)[0], False


def _running_job(api: KubernetesApi, release: Release) -> Object | None:
    """The RayJob that is running this spec. Raises SpecError with every difference if it runs another."""
    for job in list_jobs(api, release.name):
        status = explain(RunObjects(job), datetime.now(UTC))
        if status.has_ended or job["metadata"].get("deletionTimestamp"):
            continue
        _require_same(api, job, release)
        return job
    return None


def _require_same(api: KubernetesApi, job: Object, release: Release) -> None:
    name = job["metadata"]["name"]
    try:
        text, _ = read_spec(api, job)
        before = parse_spec(parse_yaml(text)[0], name).to_mapping()
    except (NotFound, SpecError) as error:
        problem = Problem(name, "is running, and its spec cannot be read.", _END.format(release.name))
        raise ClusterError(f"{release.name} is already running", [problem]) from error
    found = differences(before, release.spec.to_mapping(), "is {0!r} there and {1!r} here.")
    if found:
        found.append(Problem("", _END.format(release.name)))
        raise SpecError(f"RayJob {name} runs a different spec named {release.name}", found)


_END = "Use another name=…, or end the running one with `tadrib stop {} --kubernetes`."
