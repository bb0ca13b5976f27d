# SPDX-License-Identifier: Apache-2.0
"""Submitting: install a spec as a run on Kubernetes, or find that it runs there already, and follow it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from rich.console import Console

from tadrib.ray_jobs.console import print_note
from tadrib.ray_jobs.kube.api import KubernetesApi, NotFound
from tadrib.ray_jobs.kube.following import conclude, follow
from tadrib.ray_jobs.kube.release import Release
from tadrib.ray_jobs.kube.status.explain import explain
from tadrib.ray_jobs.kube.status.objects import Object, RunObjects, list_jobs, read_spec
from tadrib.training.config import parse_spec
from tadrib.training.config.differences import differences
from tadrib.training.config.yaml.file import parse_yaml
from tadrib.training.errors import ClusterError, Problem, SpecError, StoppedError


def submit_and_follow(api: KubernetesApi, release: Release, *, is_followed: bool, options: str) -> None:
    """Raises SpecError when spec or values are refused, and the error of any other end but success.

    ``options`` are those that lead a further command to the same cluster.
    """
    job = running_job(api, release)
    how = "is running this spec already" if job else "has been submitted"
    if job is None:
        release.apply()
        job = list_jobs(api, release.name)[0]
    say = Console(highlight=False).print
    say(
        f"{release.name} {how}: RayJob {job['metadata']['name']} in namespace {api.namespace}", soft_wrap=True
    )
    again = f"tadrib logs {release.name} --follow {options}"
    if not is_followed:
        say(f"  follow it with: {again}", soft_wrap=True)
        return
    try:
        told = follow(api, job, _write, print_note)
    except KeyboardInterrupt:
        end = f"tadrib stop {release.name} {options}"
        raise StoppedError(
            f"no longer following {release.name}, which goes on\n  follow again: {again}\n  stop it: {end}"
        ) from None
    conclude(told)
    say(told.sentence, soft_wrap=True)


def running_job(api: KubernetesApi, release: Release) -> Object | None:
    """The RayJob that runs this spec now. Raises SpecError, with every difference, where it runs another."""
    for job in list_jobs(api, release.name):
        told = explain(RunObjects(job), datetime.now(UTC))
        if told.has_ended or job["metadata"].get("deletionTimestamp"):
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
        problem = Problem(name, "runs, and its spec cannot be read to compare.", _END.format(release.name))
        raise ClusterError(f"{release.name} runs already", [problem]) from error
    found = differences(before, release.spec.to_mapping(), "is {0!r} there and {1!r} here.")
    if found:
        found.append(Problem("", _END.format(release.name)))
        raise SpecError(f"RayJob {name} runs a different spec named {release.name}", found)


_END = "Use another name=…, or end the running one with `tadrib stop {} --kubernetes`."


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
