# SPDX-License-Identifier: Apache-2.0
"""Every state that Kueue can hold a run in, as a person reads it."""

from __future__ import annotations

import pytest

from tadrib.ray_jobs.kube.status.explain import explain
from tadrib.ray_jobs.kube.status.objects import RunObjects
from tests.kubernetes.recorded import NOW, condition, rayjob, workload

QUOTA = (
    "couldn't assign flavors to pod set workers: insufficient unused quota for nvidia.com/gpu in flavor h100, "
    "8 more needed"
)
QUEUED = {
    "no Workload": ("queued", "has been queued for 4 min: Kueue has created no Workload for it", None),
    "not evaluated": ("queued", "has been queued for 4 min: queue gpu has not evaluated it yet", workload()),
    "waiting for quota": (
        "queued",
        "has been queued for 4 min: it waits for quota (queue gpu): workers: insufficient unused quota for "
        "nvidia.com/gpu in flavor h100, 8 more needed",
        workload(condition("QuotaReserved", "False", "WaitingForQuota", QUOTA)),
    ),
    "waiting for quota, before 0.20": (
        "queued",
        "has been queued for 4 min: it waits for quota (queue gpu): workers: insufficient unused quota",
        workload(
            condition(
                "QuotaReserved",
                "False",
                "Pending",
                "couldn't assign flavors to pod set workers: insufficient unused quota",
            )
        ),
    ),
    "more than there is": (
        "queued",
        "has been queued for 4 min: it requests more than the queue's maximum (queue gpu): x",
        workload(condition("QuotaReserved", "False", "ExceedsMaxQuota", "x")),
    ),
    "no flavor": (
        "queued",
        "has been queued for 4 min: it matches no flavor of the queue (queue gpu): x",
        workload(condition("QuotaReserved", "False", "NoMatchingFlavor", "x")),
    ),
    "topology": (
        "queued",
        "has been queued for 4 min: it cannot be placed as close together as it requires (queue gpu): x",
        workload(condition("QuotaReserved", "False", "TopologyPlacementFailed", "x")),
    ),
    "waiting for the preempted": (
        "queued",
        "has been queued for 4 min: it waits for preempted runs to end (queue gpu)",
        workload(condition("QuotaReserved", "False", "WaitingForPreemptedWorkloads")),
    ),
    "queue missing": (
        "queued",
        "has been queued for 4 min: it uses a misconfigured queue (queue gpu): LocalQueue gpu doesn't exist",
        workload(condition("QuotaReserved", "False", "Misconfigured", "LocalQueue gpu doesn't exist")),
    ),
    "queue missing, before 0.20": (
        "queued",
        "has been queued for 4 min: it cannot be admitted (queue gpu): ClusterQueue ft doesn't exist",
        workload(condition("QuotaReserved", "False", "Inadmissible", "ClusterQueue ft doesn't exist")),
    ),
    "queue stopped": (
        "queued",
        "has been queued for 4 min: it waits in a queue that is stopped (queue gpu): ClusterQueue ft is inactive",
        workload(condition("QuotaReserved", "False", "Suspended", "ClusterQueue ft is inactive")),
    ),
    "about to be evaluated": (
        "queued",
        "has been queued for 4 min: it is about to be evaluated (queue gpu)",
        workload(condition("QuotaReserved", "False", "PendingEvaluation")),
    ),
    "waiting for others' pods": (
        "queued",
        "has been queued for 4 min: it waits until all pods of the previously admitted run are ready (queue gpu)",
        workload(condition("QuotaReserved", "False", "WaitingForPodsReady")),
    ),
    "on hold": (
        "queued",
        "has been queued for 4 min: it is on hold (queue gpu)",
        workload(condition("QuotaReserved", "False", "OnHold")),
    ),
    "gated": (
        "queued",
        "has been queued for 4 min: it is blocked by an admission gate (queue gpu)",
        workload(condition("QuotaReserved", "False", "AdmissionGated")),
    ),
    "preemption gate": (
        "queued",
        "has been queued for 4 min: in queue gpu it could preempt others, but a preemption gate forbids it",
        workload(
            condition("QuotaReserved", "False", "WaitingForQuota"),
            condition("BlockedOnPreemptionGates", "True", "PreemptionGated"),
        ),
    ),
    "a reason of another version": (
        "queued",
        "has been queued for 4 min: it waits (Mercury) (queue gpu)",
        workload(condition("QuotaReserved", "False", "Mercury")),
    ),
    "admission check": (
        "queued",
        "has been queued for 4 min: it has quota in queue gpu; admission check nodes is Pending: scaling up",
        workload(
            condition("QuotaReserved"),
            condition("Admitted", "False", "UnsatisfiedAdmissionChecks"),
            checks=[{"name": "nodes", "state": "Pending", "message": "scaling up"}],
        ),
    ),
    "topology being found": (
        "queued",
        "has been queued for 4 min: it has quota in queue gpu, and its topology is being assigned",
        workload(
            condition("QuotaReserved"), condition("Admitted", "False", "PendingDelayedTopologyRequests")
        ),
    ),
    "being admitted": (
        "queued",
        "has been queued for 4 min: it has quota in queue gpu, and is being admitted",
        workload(condition("QuotaReserved"), condition("Admitted", "False", "NoReservation")),
    ),
    "admitted": (
        "queued",
        "has been admitted by Kueue, and is about to start",
        workload(condition("QuotaReserved"), condition("Admitted")),
    ),
    "preempted": (
        "queued",
        "has been queued for 4 min: it was preempted (queue gpu): Preempted to accommodate a workload (UID: 7) due to "
        "prioritization in the ClusterQueue",
        workload(
            condition("QuotaReserved", "False", "Pending"),
            condition("Evicted", "True", "Preempted", "Preempted to"),
            condition(
                "Preempted",
                "True",
                "InClusterQueue",
                "Preempted to accommodate a workload (UID: 7) due to prioritization in the ClusterQueue",
            ),
        ),
    ),
    "pods not ready in time": (
        "queued",
        "has been queued for 4 min: it was evicted, as its pods did not become ready in time (queue gpu): x",
        workload(condition("Evicted", "True", "PodsReadyTimeout", "x")),
    ),
    "check turned down": (
        "queued",
        "has been queued for 4 min: it was evicted by an admission check (queue gpu)",
        workload(condition("Evicted", "True", "AdmissionCheck")),
    ),
    "queue stopped while it ran": (
        "queued",
        "has been queued for 4 min: it was evicted, as the ClusterQueue was stopped (queue gpu)",
        workload(condition("Evicted", "True", "ClusterQueueStopped")),
    ),
    "local queue stopped": (
        "queued",
        "has been queued for 4 min: it was evicted, as the LocalQueue was stopped (queue gpu)",
        workload(condition("Evicted", "True", "LocalQueueStopped")),
    ),
    "nodes failed": (
        "queued",
        "has been queued for 4 min: it was evicted, as nodes failed (queue gpu)",
        workload(condition("Evicted", "True", "NodeFailures")),
    ),
    "deactivated by hand": (
        "stopped",
        "was stopped: queue gpu deactivated it: The workload is deactivated",
        workload(condition("Evicted", "True", "Deactivated", "The workload is deactivated"), active=False),
    ),
    "requeued too often": (
        "stopped",
        "was stopped: queue gpu deactivated it: it was evicted too often",
        workload(condition("Evicted", "True", "DeactivatedDueToRequeuingLimitExceeded"), active=False),
    ),
    "ran too long": (
        "stopped",
        "was stopped: queue gpu deactivated it: it ran longer than kueue.x-k8s.io/max-exec-time-seconds allows",
        workload(condition("Evicted", "True", "DeactivatedDueToMaximumExecutionTimeExceeded"), active=False),
    ),
}


@pytest.mark.parametrize(("state", "said", "held"), QUEUED.values(), ids=QUEUED)
def test_a_state_of_kueue_in_words(state, said, held):
    job = rayjob("Suspended", queue="gpu", spec={"suspend": True})
    told = explain(RunObjects(job, workload=held), NOW)
    assert (told.sentence, told.state) == (f"arabic-dpo {said}", state)
    assert told.exit_code == (130 if state == "stopped" else 0)


def test_a_new_queued_run_is_queued_and_not_overlooked():
    job = rayjob(queue="gpu", spec={"suspend": True})
    told = explain(RunObjects(job, workload=workload()), NOW)
    assert told.sentence == "arabic-dpo has been queued for 4 min: queue gpu has not evaluated it yet"
