# SPDX-License-Identifier: Apache-2.0
"""Objects: reads the Kubernetes objects that belong to a run, as the API server returns them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from yaml import YAMLError

from tadrib.ray_jobs.kube.api import Forbidden, KubernetesApi, NotFound
from tadrib.ray_jobs.kube.manifests import OPERATOR_GUIDE
from tadrib.ray_jobs.kube.status.pods import is_ready, trouble_of
from tadrib.ray_jobs.kube.status.queues import is_queued
from tadrib.training.config import JobSpec, parse_spec
from tadrib.training.config.locations import inside
from tadrib.training.config.yaml.file import parse_yaml
from tadrib.training.errors import Problem, SpecError

Object = dict[str, Any]

RUN, OBJECT = "tadrib/run", "tadrib/object"
"""Labels with the name of the run, and with the name of the RayJob that an object belongs to."""
_PODS_TO_ASK_ABOUT = 3  # one request for events each; more pods rarely have other problems


@dataclass(frozen=True, slots=True)
class RunObjects:
    """The RayJob of a run and the objects that belong to it; ``unread`` has the kinds that may not be read."""

    job: Object
    cluster: Object | None = None
    pods: list[Object] = field(default_factory=list)
    submitter: Object | None = None
    workload: Object | None = None
    events: list[Object] = field(default_factory=list)
    unread: tuple[str, ...] = ()


def rayjobs_path(namespace: str, name: str = "") -> str:
    return f"/apis/ray.io/v1/namespaces/{namespace}/rayjobs{f'/{name}' if name else ''}"


def list_jobs(api: KubernetesApi, run: str | None = None) -> list[Object]:
    """The RayJobs of all runs, or of one run, the newest first. Raises NotFound if KubeRay is not installed."""
    selector = {"labelSelector": f"{RUN}={run}" if run else RUN}
    try:
        jobs = api.list(rayjobs_path(api.namespace), **selector)
    except NotFound as error:
        action = f"Install the operator ({OPERATOR_GUIDE}), or ask the administrator to."
        problem = Problem(api.address, "has no RayJobs: the CRDs of KubeRay are missing.", action)
        raise NotFound("KubeRay is not installed", [problem]) from error
    return sorted(jobs, key=_newness, reverse=True)


def find_job(api: KubernetesApi, run: str) -> Object:
    """The newest RayJob of a run, given by the run's name or the RayJob's. Raises SpecError if there is none."""
    if jobs := list_jobs(api, run):
        return jobs[0]
    try:
        return api.get(rayjobs_path(api.namespace, run))
    except NotFound:
        names = sorted({run_of(job) for job in list_jobs(api)})
        action = f"There are {', '.join(names)}." if names else "Give another --namespace, or submit it."
        problem = Problem(f"namespace {api.namespace}", f"has no run {run}.", action)
        raise SpecError("no such run", [problem]) from None


def run_of(job: Object) -> str:
    return (job["metadata"].get("labels") or {}).get(RUN) or job["metadata"]["name"]


def read_objects(api: KubernetesApi, job: Object) -> RunObjects:
    """All objects that tell the status of the run of ``job``."""
    reader = _Reader(api)
    name, status = job["metadata"]["name"], job.get("status") or {}
    cluster_name = status.get("rayClusterName")
    cluster = (
        reader.get("rayclusters", f"/apis/ray.io/v1/namespaces/{api.namespace}/rayclusters/{cluster_name}")
        if cluster_name
        else None
    )
    core = f"/api/v1/namespaces/{api.namespace}"
    pods = (
        reader.list_of("pods", f"{core}/pods", labelSelector=f"ray.io/cluster={cluster_name}")
        if cluster_name
        else []
    )
    submitter = None
    if job["spec"].get("submissionMode", "K8sJobMode") == "K8sJobMode":
        submitter = reader.get("jobs", f"/apis/batch/v1/namespaces/{api.namespace}/jobs/{name}")
        pods += reader.list_of("pods", f"{core}/pods", labelSelector=f"batch.kubernetes.io/job-name={name}")
    stuck = [pod["metadata"]["name"] for pod in pods if not is_ready(pod) and trouble_of(pod)]
    about = [name, *([cluster_name] if cluster_name else []), *stuck[:_PODS_TO_ASK_ABOUT]]
    events = [
        event
        for each in about
        for event in reader.list_of("events", f"{core}/events", fieldSelector=f"involvedObject.name={each}")
    ]
    return RunObjects(job, cluster, pods, submitter, reader.workload(job), events, tuple(reader.unread))


def read_all_objects(api: KubernetesApi, jobs: list[Object]) -> list[RunObjects]:
    """The same for many runs with few requests, without events and submitters."""
    reader = _Reader(api)
    pods = (
        reader.list_of("pods", f"/api/v1/namespaces/{api.namespace}/pods", labelSelector="ray.io/cluster")
        if jobs
        else []
    )
    workloads = reader.workloads() if any(is_queued(job) for job in jobs) else []
    found = []
    for job in jobs:
        cluster = (job.get("status") or {}).get("rayClusterName")
        own = [pod for pod in pods if cluster and pod["metadata"]["labels"].get("ray.io/cluster") == cluster]
        found.append(RunObjects(job, None, own, None, workload_of(job, workloads), [], tuple(reader.unread)))
    return found


def workload_of(job: Object, workloads: list[Object]) -> Object | None:
    """Kueue's Workload for the RayJob; the newest of several, which an elastic job has."""
    uid = job["metadata"].get("uid")
    owned = [
        each
        for each in workloads
        if any(owner.get("uid") == uid for owner in each["metadata"].get("ownerReferences") or [])
    ]
    return max(owned, key=lambda each: each["metadata"].get("creationTimestamp") or "", default=None)


def read_spec(api: KubernetesApi, job: Object) -> tuple[str, Object]:
    """The text and the keys of the spec that a RayJob's pods read. Raises NotFound."""
    path = f"/api/v1/namespaces/{api.namespace}/configmaps/{job['metadata']['name']}"
    text = (api.get(path).get("data") or {}).get(f"{run_of(job)}.yaml", "")
    return text, parse_yaml(text)[0] or {}


def read_specs(api: KubernetesApi) -> dict[str, JobSpec]:
    """The specs of all RayJobs by their names, in one request, without those that cannot or may not be read."""
    path, specs = f"/api/v1/namespaces/{api.namespace}/configmaps", {}
    for each in _Reader(api).list_of("configmaps", path, labelSelector=RUN):
        name, text = each["metadata"]["name"], (each.get("data") or {}).get(f"{run_of(each)}.yaml", "")
        with suppress(YAMLError, SpecError):
            specs[name] = parse_spec(parse_yaml(text)[0] or {}, name)
    return specs


def run_directory(job: Object, spec: Object) -> str:
    """The run directory, as the head's container sees it."""
    return inside(str(spec.get("storage_path") or "./runs"), run_of(job))


class _Reader:
    """Reads objects, and records the kinds that may not be read."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self.unread: list[str] = []

    def get(self, kind: str, path: str) -> Object | None:
        try:
            return self._api.get(path)
        except NotFound:
            return None
        except Forbidden:
            self._forbidden(kind)
            return None

    def list_of(self, kind: str, path: str, **query: str) -> list[Object]:
        try:
            return self._api.list(path, **query)
        except NotFound:
            return []
        except Forbidden:
            self._forbidden(kind)
            return []

    def workloads(self) -> list[Object]:
        for version in ("v1beta2", "v1beta1"):
            path = f"/apis/kueue.x-k8s.io/{version}/namespaces/{self._api.namespace}/workloads"
            if found := self.list_of("workloads", path):
                return found
        return []

    def workload(self, job: Object) -> Object | None:
        return workload_of(job, self.workloads()) if is_queued(job) else None

    def _forbidden(self, kind: str) -> None:
        if kind not in self.unread:
            self.unread.append(kind)


def _newness(job: Object) -> tuple[bool, str, int]:
    """The sort key of RayJobs by age. One that is being deleted counts as the oldest: another replaces it."""
    meta = job["metadata"]
    revision = (meta.get("annotations") or {}).get("tadrib/revision", "0")
    number = int(revision) if str(revision).isdigit() else 0
    return (not meta.get("deletionTimestamp"), meta.get("creationTimestamp") or "", number)
