# SPDX-License-Identifier: Apache-2.0
"""Objects as an API server gives them, built from what differs.

Their shapes and sentences are those of kuberay v1.7.0 (rayjob_controller.go), kueue (workload_types.go, scheduler),
the kubelet and the scheduler; no cluster was at hand to record them on.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTES_4 = "2026-11-24T11:55:40Z"
SECONDS_9 = "2026-11-24T11:59:51Z"
HOUR = "2026-11-24T11:00:00Z"
NAME, RUN, CLUSTER, NAMESPACE = "arabic-dpo-1a2b3c", "arabic-dpo", "arabic-dpo-1a2b3c-x7k2p", "team-a"
LABELS = {"tadrib/run": RUN, "tadrib/object": NAME, "app.kubernetes.io/instance": RUN}
GPUS = {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "8"}


def rayjob(
    state: str = "", *, made: str = MINUTES_4, queue: str = "", spec: Object | None = None, **status: Any
) -> Object:
    """A RayJob with a jobDeploymentStatus and what else its status holds."""
    labels = {**LABELS, **({"kueue.x-k8s.io/queue-name": queue} if queue else {})}
    meta = {"name": NAME, "namespace": NAMESPACE, "uid": "uid-1", "creationTimestamp": made, "labels": labels}
    meta["annotations"] = {"tadrib/revision": "1"}
    known: Object = {"startTime": made, "rayClusterName": CLUSTER, **status}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": meta,
        "spec": {
            "entrypoint": f"tadrib launch /etc/tadrib/{RUN}.yaml",
            "submissionMode": "HTTPMode",
            "backoffLimit": 2,
            "shutdownAfterJobFinishes": True,
            "preRunningDeadlineSeconds": 1800,
            "activeDeadlineSeconds": 604800,
            "rayClusterSpec": {"workerGroupSpecs": [{"groupName": "workers", "replicas": 4}]},
            **(spec or {}),
        },
        "status": {**known, "jobDeploymentStatus": state} if state else {},
    }


def pod(
    role: str = "worker",
    number: int = 0,
    *,
    requests: Object | None = None,
    node: str | None = "node-1",
    **status: Any,
) -> Object:
    """A pod of the cluster, or with role `submitter` that of the submitter's Job."""
    name = f"{CLUSTER}-{role}-{number}" if role != "submitter" else f"{NAME}-abcde"
    container = "submitter" if role == "submitter" else f"ray-{role}"
    labels = {**LABELS, "ray.io/cluster": CLUSTER, "ray.io/node-type": role}
    if role == "submitter":
        labels = {**LABELS, "batch.kubernetes.io/job-name": NAME}
    limits = requests or {"cpu": "2", "memory": "8Gi"}
    spec: Object = {"containers": [{"name": container, "resources": {"requests": limits, "limits": limits}}]}
    if node:
        spec["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "creationTimestamp": MINUTES_4, "labels": labels},
        "spec": spec,
        "status": {"phase": "Pending", **status},
    }


def ready(role: str = "worker", number: int = 0) -> Object:
    state = {"name": f"ray-{role}", "image": "tadrib:0.1.0", "state": {"running": {"startedAt": MINUTES_4}}}
    conditions = [{"type": "Ready", "status": "True"}]
    return pod(role, number, phase="Running", conditions=conditions, containerStatuses=[state])


def all_ready(workers: int = 4) -> list[Object]:
    return [ready("head"), *(ready("worker", number) for number in range(workers))]


def unplaced(message: str, role: str = "worker", number: int = 0, reason: str = "Unschedulable") -> Object:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    condition["lastTransitionTime"] = MINUTES_4
    requests = GPUS if role == "worker" else None
    return pod(role, number, requests=requests, node=None, conditions=[condition])


def waits(
    reason: str, message: str = "", role: str = "worker", last: Object | None = None, restarts: int = 0
) -> Object:
    """A pod whose container waits for ``reason``; ``last`` is how it ended before."""
    status = {"name": f"ray-{role}", "image": "registry.example/tadrib:0.1.0", "restartCount": restarts}
    status["state"] = {"waiting": {"reason": reason, "message": message}}
    if last:
        status["lastState"] = {"terminated": last}
    return pod(role, containerStatuses=[status])


def ended(
    code: int, reason: str = "Error", role: str = "worker", number: int = 0, message: str = ""
) -> Object:
    terminated = {"exitCode": code, "reason": reason, "message": message}
    status = {"name": f"ray-{role}", "image": "tadrib:0.1.0", "state": {"terminated": terminated}}
    return pod(role, number, phase="Failed", containerStatuses=[status])


def condition(
    kind: str, status: str = "True", reason: str = "", message: str = "", at: str = MINUTES_4
) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": at}


def workload(*conditions: Object, active: bool = True, checks: list[Object] | None = None) -> Object:
    """The Workload of the RayJob."""
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {
            "name": f"rayjob-{NAME}-4f2d1",
            "namespace": NAMESPACE,
            "creationTimestamp": MINUTES_4,
            "ownerReferences": [{"kind": "RayJob", "name": NAME, "uid": "uid-1"}],
        },
        "spec": {"queueName": "gpu", "active": active},
        "status": {"conditions": list(conditions), "admissionChecks": checks or []},
    }


def event(about: str, reason: str, message: str, kind: str = "Warning") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about}.{abs(hash(message)) % 10**8}", "namespace": NAMESPACE},
        "involvedObject": {"name": about, "namespace": NAMESPACE},
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": MINUTES_4,
    }


def raycluster(*conditions: Object) -> Object:
    meta = {"name": CLUSTER, "namespace": NAMESPACE}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": meta,
        "spec": {},
        "status": {"conditions": list(conditions)},
    }


def submitter_job(*conditions: Object) -> Object:
    meta = {"name": NAME, "namespace": NAMESPACE}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta,
        "spec": {},
        "status": {"conditions": list(conditions)},
    }


SPEC_TEXT = f"""\
method: dpo
name: {RUN}
dataset_path: data/rows.jsonl
storage_path: runs
"""


def configmap(text: str = SPEC_TEXT) -> Object:
    meta = {"name": NAME, "namespace": NAMESPACE, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {f"{RUN}.yaml": text}}


# what several states have in common
GPU = (
    "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available: 3 No preemption "
    "victims found for incoming pod."
)
RUNNING = {"jobStatus": "RUNNING", "rayJobInfo": {"startTime": HOUR}}
TOOK = {"rayJobInfo": {"startTime": HOUR, "endTime": "2026-11-24T11:50:00Z"}}
K8S_JOB = {"submissionMode": "K8sJobMode"}
FAILED_1 = (
    "Job entrypoint command failed with exit code 1, last available logs (truncated to 20,000 chars):\n"
    "[0:12] training  step 20/100  loss 2.101\n✗ the loss is not finite at step 21: 1 problem\n  metrics: nan.\n"
)


def by_exit_code(code, log=""):
    said = f"Job entrypoint command failed with exit code {code}, last available logs"
    return f"{said} (truncated to 20,000 chars):\n{log}"


SUBMITTER_DIED = condition(
    "Failed", "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
)
HEAD_OOM = ended(137, "OOMKilled", "head")
