# SPDX-License-Identifier: Apache-2.0
"""Explanation: determines the status of a run from its objects, without requests to the cluster.

The states of a RayJob (``jobDeploymentStatus``), in the usual order: none, Initializing, Running, then Complete or
Failed; with a queue, Suspended before Initializing; with retries, Retrying after Running, then none again. The state
ValidationFailed is final. Source: kuberay v1.7.0, ray-operator/apis/ray/v1/rayjob_types.go and
controllers/ray/rayjob_controller.go.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from tadrib.ray_jobs.kube.status.endings import complete, failed
from tadrib.ray_jobs.kube.status.objects import RunObjects, run_of
from tadrib.ray_jobs.kube.status.pods import Trouble, is_leaving, is_ready, is_worker, worst
from tadrib.ray_jobs.kube.status.queues import is_queued, queue_of, waiting
from tadrib.ray_jobs.kube.status.running import failed_start, line, retrying, running
from tadrib.ray_jobs.kube.status.trouble import workers_in
from tadrib.ray_jobs.kube.status.units import since
from tadrib.ray_jobs.runs.status import Status

Object = dict[str, Any]


def explain(found: RunObjects, now: datetime, progress: Status | None = None) -> Status:
    """The status of the run. ``progress`` is the status from its directory, if that could be read."""
    job, name = found.job, run_of(found.job)
    status = job.get("status") or {}
    state = status.get("jobDeploymentStatus") or ""
    if job["metadata"].get("deletionTimestamp") and state not in ("Complete", "Failed"):
        told = Status("stopped", name, f"{name} is being stopped: its RayJob is being deleted", _RESUME)
    elif state == "ValidationFailed":
        told = _invalid(name, status)
    elif state == "Complete":
        told = complete(found, progress)
    elif state == "Failed":
        told = failed(found, progress)
    elif state == "Retrying":
        told = retrying(found, name)
    elif state == "Running":
        told = running(found, now, progress)
    else:
        told = _before_running(found, state, now)
    return replace(told, facts=(*told.facts, *_facts(found))).with_progress(progress)


_RESUME = "Submit it again to continue from its last checkpoint."


def _invalid(name: str, status: Object) -> Status:
    why = f"was rejected by KubeRay, which will not retry it: {line(status.get('message'))}"
    action = "Correct spec or values, and submit it again."
    return Status("failed", name, f"{name} {why}", action, error=why)


# --- before the job runs


def _before_running(found: RunObjects, state: str, now: datetime) -> Status:
    job, name = found.job, run_of(found.job)
    if (job["spec"].get("managedBy") or "ray.io/kuberay-operator") != "ray.io/kuberay-operator":
        return Status(
            "pending", name, f"{name} runs on another cluster, managed by {job['spec']['managedBy']}"
        )
    if is_queued(job) and (job["spec"].get("suspend") or state in ("Suspended", "Suspending")):
        return _queued(found, now)
    if state in ("Suspended", "Suspending") or job["spec"].get("suspend"):
        how = "is being suspended" if state == "Suspending" else "was suspended manually (spec.suspend)"
        return Status("stopped", name, f"{name} {how}, and has no pods", _RESUME)
    if state == "Waiting":
        text = f"{name} waits for a job to be submitted to its cluster (InteractiveMode)"
        return Status("pending", name, text)
    if state == "Initializing":
        return _initializing(found, now)
    if state:
        return Status("pending", name, f"{name} is in a state that this version does not know: {state}")
    return _not_yet_reconciled(found, now)


def _queued(found: RunObjects, now: datetime) -> Status:
    name = run_of(found.job)
    if "workloads" in found.unread:
        text = f"{name} waits in queue {queue_of(found.job)}; you may not read Kueue's workloads to see why"
        return Status("queued", name, text)
    wait = waiting(found.job, found.workload)
    if wait is None:
        return Status("queued", name, f"{name} has been admitted by Kueue, and is about to start")
    if wait.is_over:
        return Status("stopped", name, f"{name} was stopped: {wait.text}", wait.action)
    age = since(wait.since, now)
    return Status(
        "queued", name, f"{name} has been queued{f' for {age}' if age else ''}: {wait.text}", wait.action
    )


def _not_yet_reconciled(found: RunObjects, now: datetime) -> Status:
    """No state: the operator has not seen the RayJob yet, or has reset it for a retry."""
    name, made = run_of(found.job), found.job["metadata"].get("creationTimestamp")
    if (found.job.get("status") or {}).get("failed"):
        return Status("pending", name, f"{name} is being restarted, as {failed_start(found)} failed")
    age = since(made, now)
    if age.endswith(" s") or not age:
        return Status("pending", name, f"{name} has been submitted and is starting")
    text = f"{name} has been pending for {age}: no KubeRay operator is processing it"
    return Status(
        "pending", name, text, "Check with `tadrib doctor` that one is running and watches this namespace."
    )


def _initializing(found: RunObjects, now: datetime) -> Status:
    name = run_of(found.job)
    trouble = _not_created(found) or worst(found.pods, found.events)
    began = (found.job.get("status") or {}).get("startTime")
    if trouble is None:
        age = since(began, now)
        for_how_long = f" for {age}" if age else ""
        if not found.pods and "pods" in found.unread:
            return Status(
                "pending", name, f"{name} has been starting{for_how_long}; you may not read its pods"
            )
        what = "its pods are being created" if not found.pods else "all pods are running; waiting for Ray"
        return Status("pending", name, f"{name} has been starting{for_how_long}: {what}")
    age = since(trouble.since or began, now)
    return Status(
        "pending",
        name,
        f"{name} has been pending{f' for {age}' if age else ''}: {trouble.text}",
        trouble.action,
    )


def _not_created(found: RunObjects) -> Trouble | None:
    """Why the cluster or its pods cannot be created: rejected by a quota, Pod Security or a webhook."""
    conditions = ((found.cluster or {}).get("status") or {}).get("conditions") or []
    said = [
        each.get("message", "")
        for each in conditions
        if each["type"] == "ReplicaFailure" and each["status"] == "True"
    ]
    reasons = (
        "FailedToCreateHeadPod",
        "FailedToCreateWorkerPod",
        "FailedToCreateRayCluster",
        "FailedToCreateRayJobSubmitter",
    )
    is_lacking = found.cluster is None or not found.pods or any(said)
    if is_lacking:
        said += [event.get("message", "") for event in found.events if event.get("reason") in reasons]
    if not said:
        return None
    text = line(said[0])
    if "exceeded quota" in text:
        return Trouble(
            0,
            f"the namespace's ResourceQuota does not allow its pods: {text}",
            "Request less, or ask for more quota.",
        )
    if "PodSecurity" in text:
        return Trouble(0, f"the namespace's Pod Security standard forbids its pods: {text}")
    return Trouble(0, f"its pods cannot be created: {text}")


# --- facts below the sentence


def _facts(found: RunObjects) -> tuple[tuple[str, str], ...]:
    job, status = found.job, found.job.get("status") or {}
    facts = [
        ("rayjob", f"{job['metadata']['name']} ({status.get('jobDeploymentStatus') or 'New'}{_ray(status)})")
    ]
    workers = [pod for pod in found.pods if is_worker(pod) and not is_leaving(pod)]
    groups = (job["spec"].get("rayClusterSpec") or {}).get("workerGroupSpecs") or []
    wanted = sum(
        (group.get("replicas") or 0) * workers_in(group.get("template") or {"metadata": {}})
        for group in groups
    )
    if found.pods:
        ready = sum(workers_in(pod) for pod in workers if is_ready(pod))
        facts.append(("workers", f"{ready} of {max(wanted, sum(map(workers_in, workers)))} ready"))
    if found.unread:
        facts.append(("not allowed to read", ", ".join(found.unread)))
    return tuple(facts)


def _ray(status: Object) -> str:
    return f", job {status['jobStatus']}" if status.get("jobStatus") else ""
