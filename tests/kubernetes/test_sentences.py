# SPDX-License-Identifier: Apache-2.0
"""Every state that KubeRay v1.7 can be in, as a person reads it: objects in, one sentence and an exit code out."""

from __future__ import annotations

import pytest

from tadrib.ray_jobs.kube.status.explain import explain
from tadrib.ray_jobs.kube.status.objects import RunObjects
from tadrib.ray_jobs.runs.status import Status
from tests.kubernetes.ended_states import ENDED
from tests.kubernetes.recorded import (
    NAME,
    NOW,
    RUNNING,
    SECONDS_9,
    TOOK,
    all_ready,
    by_exit_code,
    condition,
    pod,
    rayjob,
    ready,
)
from tests.kubernetes.waiting_states import WAITING

STATES = {**WAITING, **ENDED}


@pytest.mark.parametrize(("state", "said", "job", "others"), STATES.values(), ids=STATES)
def test_a_state_of_kuberay_in_words(state, said, job, others):
    told = explain(RunObjects(job, **others), NOW)
    assert (told.sentence, told.state) == (f"arabic-dpo {said}", state)
    assert told.exit_code == {"failed": 1, "stopped": 130}.get(state, 0)


def test_a_rayjob_that_is_being_deleted_is_stopped():
    job = rayjob("Running", **RUNNING)
    job["metadata"]["deletionTimestamp"] = SECONDS_9
    told = explain(RunObjects(job, pods=all_ready()), NOW)
    assert (told.sentence, told.exit_code) == (
        "arabic-dpo is being stopped: its RayJob is being deleted",
        130,
    )


@pytest.mark.parametrize("reason", ["kubelet: Evicted", "DisruptionTarget"])
def test_a_worker_that_was_taken_away_is_named(reason):
    taken = (
        pod(
            number=3,
            phase="Failed",
            reason="Evicted",
            message="The node was low on resource: ephemeral-storage.",
        )
        if reason == "kubelet: Evicted"
        else pod(number=3, conditions=[condition("DisruptionTarget", message="node is being drained")])
    )
    told = explain(RunObjects(rayjob("Running", **RUNNING), pods=[*all_ready(3), taken]), NOW)
    (warning,) = [value for label, value in told.facts if label == "warning"]
    assert warning.startswith(f"1 of its workers is missing: worker {NAME}-x7k2p-worker-3 was ")
    assert ("workers", "3 of 4 ready") in told.facts


def test_the_workers_of_a_pod_are_counted():
    """Two pods of eight workers, of which one was taken away."""
    pods = [
        ready("head"),
        ready("worker", 0),
        pod(number=1, phase="Failed", reason="Evicted", message="Low."),
    ]
    for each in pods[1:]:
        each["metadata"]["labels"]["tadrib/workers"] = "8"
    template = {"metadata": {"labels": {"tadrib/workers": "8"}}}
    cluster = {"workerGroupSpecs": [{"groupName": "workers", "replicas": 2, "template": template}]}
    told = explain(RunObjects(rayjob("Running", spec={"rayClusterSpec": cluster}, **RUNNING), pods=pods), NOW)

    (warning,) = [value for label, value in told.facts if label == "warning"]
    assert warning.startswith(f"8 of its workers are missing: worker {NAME}-x7k2p-worker-1 was ")
    assert ("workers", "8 of 16 ready") in told.facts


def test_a_submitter_that_died_is_a_warning_while_the_job_runs():
    _, _, job, others = STATES["running, submitter died"]
    facts = dict(explain(RunObjects(job, **others), NOW).facts)
    assert facts["warning"] == (
        "its submitter pod died (BackoffLimitExceeded: Job has reached the specified backoff limit); KubeRay may "
        "report the run as failed while it is still running"
    )


def test_what_may_not_be_read_is_said():
    told = explain(RunObjects(rayjob("Initializing"), unread=("pods", "events")), NOW)
    assert told.sentence == "arabic-dpo has been starting for 4 min; you may not read its pods"
    assert ("not allowed to read", "pods, events") in told.facts
    queued = explain(
        RunObjects(rayjob("Suspended", queue="gpu", spec={"suspend": True}), unread=("workloads",)), NOW
    )
    assert "you may not read Kueue's workloads" in queued.sentence


PROGRESS = Status(
    "running",
    "arabic-dpo",
    run_directory="/mnt/tadrib/runs/arabic-dpo",
    steps_done=40,
    steps_planned=100,
    seconds_left=750.0,
)


def test_a_running_run_says_how_far_it_is_where_its_directory_could_be_asked():
    told = explain(RunObjects(rayjob("Running", **RUNNING), pods=all_ready()), NOW, PROGRESS)
    assert told.sentence == "arabic-dpo is running: step 40 of 100, about 12:30 left"


def test_success_is_a_result_that_says_so_and_not_a_status_of_ray():
    job = rayjob("Complete", jobStatus="SUCCEEDED", **TOOK)
    done = Status("succeeded", "arabic-dpo", steps_done=100, steps_planned=100, wall_seconds=3000.0)
    assert explain(RunObjects(job), NOW, done).sentence == "arabic-dpo succeeded: step 100 of 100 in 50:00"
    told = explain(RunObjects(job), NOW, Status("died", "arabic-dpo", steps_done=60))
    assert told.exit_code == 1
    assert "no result.json confirms it" in told.sentence


def test_a_failed_run_gives_the_reason_of_its_directory():
    job = rayjob("Failed", jobStatus="FAILED", reason="AppFailed", message=by_exit_code(1))
    known = Status("failed", "arabic-dpo", steps_done=20, steps_planned=100, error="worker 1 died\nmore")
    assert explain(RunObjects(job), NOW, known).sentence == "arabic-dpo failed at step 20: worker 1 died"


@pytest.mark.parametrize("name", STATES)
def test_whatever_does_not_go_well_names_a_next_step(name):
    state, _, job, others = STATES[name]
    told = explain(RunObjects(job, **others), NOW)
    if state in ("failed", "stopped"):
        assert told.action.endswith(".")
