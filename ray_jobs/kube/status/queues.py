# SPDX-License-Identifier: Apache-2.0
"""Queues: why Kueue does not admit a run, or evicted it, as one sentence and the next action.

Source of conditions and reasons: kueue ff69552e (0.20-devel), apis/kueue/v1beta2/workload_types.go; releases up to
0.19 give Pending, Waiting and Inadmissible in place of the finer reasons of QuotaReserved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

_NOT_RESERVED = {
    "WaitingForQuota": ("waits for quota", ""),
    "ExceedsMaxQuota": (
        "requests more than the queue's maximum",
        "Request fewer workers, or ask for a larger quota of the ClusterQueue.",
    ),
    "NoMatchingFlavor": (
        "matches no flavor of the queue",
        "Compare platform.gpu.nodeSelector and tolerations with the ResourceFlavors.",
    ),
    "TopologyPlacementFailed": (
        "cannot be placed as close together as it requires",
        "Set platform.queue.topology.mode: preferred.",
    ),
    "WaitingForPreemptedWorkloads": ("waits for preempted runs to end", ""),
    "Misconfigured": ("uses a misconfigured queue", "Check platform.queue.name with `tadrib doctor`."),
    "Suspended": ("waits in a queue that is stopped", "Ask the administrator; its stopPolicy is Hold."),
    "PendingEvaluation": ("is about to be evaluated", ""),
    "WaitingForPodsReady": ("waits until all pods of the previously admitted run are ready", ""),
    "Inadmissible": ("cannot be admitted", "Check platform.queue.name with `tadrib doctor`."),
    "OnHold": ("is on hold", ""),
    "Pending": ("waits for quota", ""),
    "Waiting": ("waits until all pods of the previously admitted run are ready", ""),
    "AdmissionGated": (
        "is blocked by an admission gate",
        "The controller that set kueue.x-k8s.io/admission-gated-by has to remove it.",
    ),
}
_EVICTED = {
    "Preempted": "was preempted",
    "PodsReadyTimeout": "was evicted, as its pods did not become ready in time",
    "AdmissionCheck": "was evicted by an admission check",
    "ClusterQueueStopped": "was evicted, as the ClusterQueue was stopped",
    "LocalQueueStopped": "was evicted, as the LocalQueue was stopped",
    "NodeFailures": "was evicted, as nodes failed",
    "FlavorMigration": "is being moved to another flavor",
    "EvictedOnManagerCluster": "was evicted on the manager cluster",
}
_DEACTIVATED = {
    "RequeuingLimitExceeded": "it was evicted too often",
    "MaximumExecutionTimeExceeded": "it ran longer than kueue.x-k8s.io/max-exec-time-seconds allows",
}


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a run is not admitted; ``is_over``: the queue will not retry it."""

    text: str
    action: str = ""
    since: str | None = None
    is_over: bool = False


def is_queued(job: Object) -> bool:
    """Whether Kueue manages the RayJob."""
    return bool(queue_of(job))


def queue_of(job: Object) -> str:
    return (job["metadata"].get("labels") or {}).get("kueue.x-k8s.io/queue-name", "")


def waiting(job: Object, workload: Object | None) -> Wait | None:
    """Why Kueue does not admit the RayJob; None if it does."""
    made = job["metadata"].get("creationTimestamp")
    if workload is None:
        action = "Check that Kueue is running and manages ray.io/rayjob in this namespace."
        return Wait("Kueue has created no Workload for it", action, made)
    queue = f"queue {(workload.get('spec') or {}).get('queueName') or queue_of(job)}"
    conditions = {each["type"]: each for each in (workload.get("status") or {}).get("conditions") or []}
    if given_up := _deactivated(workload, conditions, queue):
        return given_up
    evicted, reserved, admitted = (conditions.get(key) for key in ("Evicted", "QuotaReserved", "Admitted"))
    if _is_true(admitted) and not _is_true(evicted):
        return None
    if _is_true(evicted):
        return _evicted(evicted or {}, conditions, queue)
    if _is_true(reserved):
        return _unchecked(workload, admitted, reserved or {}, queue)
    return _not_reserved(reserved, conditions, queue, made)


def _is_true(condition: Object | None) -> bool:
    return condition is not None and condition["status"] == "True"


def _deactivated(workload: Object, conditions: Object, queue: str) -> Wait | None:
    target, evicted = conditions.get("DeactivationTarget"), conditions.get("Evicted") or {}
    reason = evicted.get("reason", "")
    is_inactive = (workload.get("spec") or {}).get("active") is False
    if not is_inactive and not _is_true(target) and not reason.startswith("Deactivated"):
        return None
    if not is_inactive and not _is_true(evicted):
        return None
    cause = (target or {}).get("reason") or reason.removeprefix("DeactivatedDueTo")
    why = _DEACTIVATED.get(cause) or _said(target or evicted) or "spec.active was set to false"
    action = "Submit it again to continue from its last checkpoint."
    return Wait(f"{queue} deactivated it: {why}", action, evicted.get("lastTransitionTime"), is_over=True)


def _evicted(evicted: Object, conditions: Object, queue: str) -> Wait:
    reason = evicted.get("reason", "")
    text = _EVICTED.get(reason, f"was evicted ({reason})")
    preempted = conditions.get("Preempted")
    said = _said(preempted if _is_true(preempted) else evicted)
    action = "It continues from its last checkpoint when it is admitted again."
    return Wait(
        f"it {text} ({queue}){f': {said}' if said else ''}", action, evicted.get("lastTransitionTime")
    )


def _unchecked(workload: Object, admitted: Object | None, reserved: Object, queue: str) -> Wait:
    began = reserved.get("lastTransitionTime")
    checks = (workload.get("status") or {}).get("admissionChecks") or []
    open_checks = [each for each in checks if each.get("state") != "Ready"]
    if open_checks:
        first = open_checks[0]
        said = f": {first['message']}" if first.get("message") else ""
        return Wait(
            f"it has quota in {queue}; admission check {first['name']} is {first['state']}{said}", since=began
        )
    if (admitted or {}).get("reason") == "PendingDelayedTopologyRequests":
        return Wait(f"it has quota in {queue}, and its topology is being assigned", since=began)
    return Wait(f"it has quota in {queue}, and is being admitted", since=began)


def _not_reserved(reserved: Object | None, conditions: Object, queue: str, made: str | None) -> Wait:
    began = (reserved or {}).get("lastTransitionTime") or made
    if _is_true(conditions.get("BlockedOnPreemptionGates")):
        return Wait(f"in {queue} it could preempt others, but a preemption gate forbids it", since=began)
    if reserved is None:
        return Wait(f"{queue} has not evaluated it yet", since=made)
    text, action = _NOT_RESERVED.get(reserved.get("reason", ""), (f"waits ({reserved.get('reason')})", ""))
    said = _said(reserved)
    if "doesn't exist" in said and not action:
        action = "Check platform.queue.name with `tadrib doctor`."
    return Wait(f"it {text} ({queue}){f': {said}' if said else ''}", action, began)


def _said(condition: Object | None) -> str:
    """Kueue's message, without its preamble on pod sets, which are groups of a RayCluster."""
    text = " ".join(((condition or {}).get("message") or "").split()).rstrip(".")
    return re.sub(r"couldn't assign flavors to pod set (\S+):", r"\1:", text)
