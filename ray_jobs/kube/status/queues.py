# SPDX-License-Identifier: Apache-2.0
"""Queues: why Kueue holds a run back, or took it off the cluster, as one sentence and the next action.

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
        "asks for more than the queue can ever give",
        "Ask for fewer workers, or for a larger quota of the ClusterQueue.",
    ),
    "NoMatchingFlavor": (
        "fits no flavor of the queue",
        "Compare platform.gpu.nodeSelector and tolerations with the ResourceFlavors.",
    ),
    "TopologyPlacementFailed": (
        "cannot be placed as close together as it asks",
        "Set platform.queue.topology.mode: preferred.",
    ),
    "WaitingForPreemptedWorkloads": ("waits for runs of lower priority to leave", ""),
    "Misconfigured": ("names a queue that does not work", "Check platform.queue.name with `tadrib doctor`."),
    "Suspended": ("waits in a queue that is stopped", "Ask the administrator; its stopPolicy says Hold."),
    "PendingEvaluation": ("is about to be looked at", ""),
    "WaitingForPodsReady": ("waits until the run admitted before it has all pods", ""),
    "Inadmissible": ("cannot be admitted", "Check platform.queue.name with `tadrib doctor`."),
    "OnHold": ("is on hold", ""),
    "Pending": ("waits for quota", ""),
    "Waiting": ("waits until the run admitted before it has all pods", ""),
    "AdmissionGated": (
        "is held back by an admission gate",
        "Whoever set kueue.x-k8s.io/admission-gated-by lifts it.",
    ),
}
_EVICTED = {
    "Preempted": "was preempted",
    "PodsReadyTimeout": "was sent back, as its pods did not become ready in time",
    "AdmissionCheck": "was sent back by an admission check",
    "ClusterQueueStopped": "was sent back, as the ClusterQueue was stopped",
    "LocalQueueStopped": "was sent back, as the LocalQueue was stopped",
    "NodeFailures": "was sent back, as nodes failed",
    "FlavorMigration": "is moved to another flavor",
    "EvictedOnManagerCluster": "was sent back by the manager cluster",
}
_DEACTIVATED = {
    "RequeuingLimitExceeded": "it was sent back too often",
    "MaximumExecutionTimeExceeded": "it ran longer than kueue.x-k8s.io/max-exec-time-seconds allows",
}


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a run is not admitted; ``is_over`` where the queue will not try again by itself."""

    text: str
    action: str = ""
    since: str | None = None
    is_over: bool = False


def is_queued(job: Object) -> bool:
    """Whether Kueue decides on the RayJob."""
    return bool(queue_of(job))


def queue_of(job: Object) -> str:
    return (job["metadata"].get("labels") or {}).get("kueue.x-k8s.io/queue-name", "")


def waiting(job: Object, workload: Object | None) -> Wait | None:
    """Why Kueue does not let the RayJob run; None when it does."""
    made = job["metadata"].get("creationTimestamp")
    if workload is None:
        action = "Check that Kueue runs and manages ray.io/rayjob in this namespace."
        return Wait("Kueue has made no Workload of it", action, made)
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
    why = _DEACTIVATED.get(cause) or _said(target or evicted) or "somebody set spec.active: false"
    action = "Submit it again to continue from its last checkpoint."
    return Wait(f"{queue} gave it up: {why}", action, evicted.get("lastTransitionTime"), is_over=True)


def _evicted(evicted: Object, conditions: Object, queue: str) -> Wait:
    reason = evicted.get("reason", "")
    text = _EVICTED.get(reason, f"was sent back ({reason})")
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
            f"it has its quota in {queue}, and check {first['name']} is {first['state']}{said}", since=began
        )
    if (admitted or {}).get("reason") == "PendingDelayedTopologyRequests":
        return Wait(f"it has its quota in {queue}, and its topology is being found", since=began)
    return Wait(f"it has its quota in {queue}, and is being admitted", since=began)


def _not_reserved(reserved: Object | None, conditions: Object, queue: str, made: str | None) -> Wait:
    began = (reserved or {}).get("lastTransitionTime") or made
    if _is_true(conditions.get("BlockedOnPreemptionGates")):
        return Wait(f"in {queue} it could preempt others, and a preemption gate forbids it", since=began)
    if reserved is None:
        return Wait(f"{queue} has not looked at it yet", since=made)
    text, action = _NOT_RESERVED.get(reserved.get("reason", ""), (f"waits ({reserved.get('reason')})", ""))
    said = _said(reserved)
    if "doesn't exist" in said and not action:
        action = "Check platform.queue.name with `tadrib doctor`."
    return Wait(f"it {text} ({queue}){f': {said}' if said else ''}", action, began)


def _said(condition: Object | None) -> str:
    """What Kueue wrote, without its preamble on pod sets, which are groups of a RayCluster."""
    text = " ".join(((condition or {}).get("message") or "").split()).rstrip(".")
    return re.sub(r"couldn't assign flavors to pod set (\S+):", r"\1:", text)
