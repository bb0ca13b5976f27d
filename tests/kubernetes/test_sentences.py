# SPDX-License-Identifier: Apache-2.0
"""Every state that KubeRay v1.7 can be in, as a person reads it: objects in, one sentence and an exit code
out."""

from __future__ import annotations

import pytest

from ray_jobs.kube.explain import explain
from ray_jobs.kube.objects import RunObjects
from ray_jobs.run_status import RunStatus
from tests.kubernetes.recorded import (
    HOUR,
    NAME,
    NOW,
    SECONDS_9,
    all_ready,
    condition,
    ended,
    event,
    pod,
    raycluster,
    rayjob,
    ready,
    submitter_job,
    unplaced,
    waits,
)

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

# state, exit code, sentence, objects
STATES = {
    "not yet seen": ("pending", "has been submitted and is starting", rayjob(made=SECONDS_9), {}),
    "no operator": (
        "pending",
        "has been pending for 4 min: no KubeRay operator has taken it up",
        rayjob(),
        {},
    ),
    "initializing": (
        "pending",
        "has been starting for 4 min: its pods are being made",
        rayjob("Initializing"),
        {},
    ),
    "pods run, Ray does not answer": (
        "pending",
        "has been starting for 4 min: all pods run, and Ray is being waited for",
        rayjob("Initializing"),
        {"pods": all_ready()},
    ),
    "pending for GPUs": (
        "pending",
        "has been pending for 4 min: 0/3 nodes have 8 free nvidia.com/gpu",
        rayjob("Initializing"),
        {"pods": [ready("head"), unplaced(GPU), unplaced(GPU, number=1)]},
    ),
    "pending for several reasons": (
        "pending",
        "has been pending for 4 min: 0/5 nodes fit: 1 lacks 8 free nvidia.com/gpu, 1 lacks 64Gi of free "
        "memory, 3 have a taint that the pod does not tolerate {nvidia.com/gpu: present}",
        rayjob("Initializing"),
        {
            "pods": [
                unplaced(
                    "0/5 nodes are available: 1 Insufficient nvidia.com/gpu, 1 Insufficient memory, 3 node(s) had "
                    "untolerated taint {nvidia.com/gpu: present}. preemption: 0/5 nodes are available."
                )
            ]
        },
    ),
    "pending for a label of nodes": (
        "pending",
        "has been pending for 4 min: 0/2 nodes fit: 2 do not match its nodeSelector or affinity",
        rayjob("Initializing"),
        {"pods": [unplaced("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.")]},
    ),
    "pending for a claim": (
        "pending",
        'has been pending for 4 min: 0/3 nodes fit: persistentvolumeclaim "tadrib" not found',
        rayjob("Initializing"),
        {"pods": [unplaced('0/3 nodes are available: persistentvolumeclaim "tadrib" not found.', "head")]},
    ),
    "pending in a gang": (
        "pending",
        "has been pending for 4 min: pod group is not ready, 5 Pending, 5 minAvailable",
        rayjob("Initializing"),
        {"pods": [unplaced("pod group is not ready, 5 Pending, 5 minAvailable", "head")]},
    ),
    "a scheduler that does not run": (
        "pending",
        "has been pending for 4 min: the scheduler default-scheduler has not taken up the head",
        rayjob("Initializing"),
        {"pods": [pod("head", node=None)]},
    ),
    "held by a scheduling gate": (
        "pending",
        "has been pending for 4 min: the head is held back by a scheduling gate",
        rayjob("Initializing"),
        {"pods": [unplaced("Scheduling is blocked", "head", reason="SchedulingGated")]},
    ),
    "image does not exist": (
        "pending",
        "has been pending for 4 min: the image registry.example/tadrib:0.1.0 does not exist",
        rayjob("Initializing"),
        {
            "pods": [
                waits(
                    "ImagePullBackOff",
                    'Back-off pulling image "registry.example/tadrib:0.1.0": ErrImagePull: rpc error: code = NotFound '
                    "desc = failed to pull and unpack image: not found",
                )
            ]
        },
    ),
    "image needs a login": (
        "pending",
        "has been pending for 4 min: the image registry.example/tadrib:0.1.0 cannot be pulled: its registry "
        "refuses",
        rayjob("Initializing"),
        {"pods": [waits("ErrImagePull", "pull access denied, authorization failed", "head")]},
    ),
    "registry out of reach": (
        "pending",
        "has been pending for 4 min: the image registry.example/tadrib:0.1.0 cannot be pulled: its registry is "
        "out of reach",
        rayjob("Initializing"),
        {"pods": [waits("ErrImagePull", "dial tcp: lookup registry.example: no such host")]},
    ),
    "image never pulled": (
        "pending",
        "has been pending for 4 min: the image registry.example/tadrib:0.1.0 is not on the node, and pullPolicy "
        "is Never",
        rayjob("Initializing"),
        {"pods": [waits("ErrImageNeverPull", "Container image is not present")]},
    ),
    "image misnamed": (
        "pending",
        "has been pending for 4 min: the image registry.example/tadrib:0.1.0 is not a name of an image",
        rayjob("Initializing"),
        {"pods": [waits("InvalidImageName", "couldn't parse image name")]},
    ),
    "a Secret is missing": (
        "pending",
        'has been pending for 4 min: a container cannot be configured: secret "huggingface" not found',
        rayjob("Initializing"),
        {"pods": [waits("CreateContainerConfigError", 'secret "huggingface" not found', "head")]},
    ),
    "a volume cannot be mounted": (
        "pending",
        "has been pending for 4 min: a volume of the head cannot be mounted: MountVolume.SetUp failed for "
        'volume "storage": timed out',
        rayjob("Initializing"),
        {
            "pods": [waits("ContainerCreating", role="head")],
            "events": [
                event(
                    f"{NAME}-x7k2p-head-0",
                    "FailedMount",
                    'MountVolume.SetUp failed for volume "storage": timed out',
                )
            ],
        },
    ),
    "being pulled": (
        "pending",
        "has been pending for 4 min: the head is being started on node node-1; its image may still be pulled",
        rayjob("Initializing"),
        {"pods": [waits("ContainerCreating", role="head")]},
    ),
    "workers wait for the head": (
        "pending",
        "has been pending for 4 min: 0/3 nodes have 2 free cpu",
        rayjob("Initializing"),
        {
            "pods": [
                pod(
                    initContainerStatuses=[{"name": "wait-gcs-ready", "state": {"running": {}}}],
                    containerStatuses=[
                        {"name": "ray-worker", "state": {"waiting": {"reason": "PodInitializing"}}}
                    ],
                ),
                unplaced("0/3 nodes are available: 3 Insufficient cpu.", "head"),
            ]
        },
    ),
    "crashes at the start": (
        "pending",
        f"has been pending for 4 min: worker {NAME}-x7k2p-worker-0 ended with exit code 1, and was started 4 "
        "times",
        rayjob("Initializing"),
        {
            "pods": [
                waits("CrashLoopBackOff", "back-off", last={"exitCode": 1, "reason": "Error"}, restarts=3)
            ]
        },
    ),
    "refused by a quota": (
        "pending",
        'has been pending for 4 min: the namespace\'s ResourceQuota does not allow its pods: pods "x" is '
        "forbidden: exceeded quota: team, requested: limits.memory=64Gi",
        rayjob("Initializing"),
        {
            "cluster": raycluster(
                condition(
                    "ReplicaFailure",
                    "True",
                    "FailedCreateWorkerPod",
                    'pods "x" is forbidden: exceeded quota: team, requested: limits.memory=64Gi',
                )
            ),
            "pods": [ready("head")],
        },
    ),
    "refused by Pod Security": (
        "pending",
        "has been pending for 4 min: the namespace's Pod Security standard refuses its pods: "
        'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged',
        rayjob("Initializing"),
        {
            "events": [
                event(
                    f"{NAME}-x7k2p",
                    "FailedToCreateHeadPod",
                    'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged',
                )
            ]
        },
    ),
    "waits for a person": (
        "pending",
        "waits for somebody to submit a job to its cluster (InteractiveMode)",
        rayjob("Waiting"),
        {},
    ),
    "on another cluster": (
        "pending",
        "is run on another cluster, by kueue.x-k8s.io/multikueue",
        rayjob(spec={"managedBy": "kueue.x-k8s.io/multikueue"}),
        {},
    ),
    "job being submitted": (
        "pending",
        "has been starting for 4 min: its cluster is up and its job is being submitted",
        rayjob("Running"),
        {"pods": all_ready()},
    ),
    "job pending in Ray": (
        "pending",
        "has been starting for 4 min: its cluster is up and its job is being submitted",
        rayjob("Running", jobStatus="PENDING"),
        {"pods": all_ready()},
    ),
    "submitter cannot start": (
        "pending",
        "has its cluster, but its job cannot be submitted: its submitter does not run: a container cannot be "
        "started: no",
        rayjob("Running", spec=K8S_JOB),
        {
            "pods": [
                *all_ready(),
                pod(
                    "submitter",
                    containerStatuses=[
                        {"state": {"waiting": {"reason": "CreateContainerError", "message": "no"}}}
                    ],
                ),
            ]
        },
    ),
    "running": (
        "running",
        "has been running for 1 h",
        rayjob("Running", **RUNNING),
        {"pods": all_ready()},
    ),
    "running, a worker lost": (
        "running",
        "has been running for 1 h",
        rayjob("Running", **RUNNING),
        {"pods": [*all_ready(3), ended(137, "OOMKilled", number=3)]},
    ),
    "running, submitter died": (
        "running",
        "has been running for 1 h",
        rayjob("Running", spec=K8S_JOB, **RUNNING),
        {"pods": all_ready(), "submitter": submitter_job(SUBMITTER_DIED)},
    ),
    "head out of memory": (
        "pending",
        "has lost its head: the head ran out of memory (limit 8Gi)",
        rayjob("Running", **RUNNING),
        {"pods": [HEAD_OOM, *all_ready()[1:]]},
    ),
    "head gone": (
        "pending",
        "has lost its head, and its pod has not been made again",
        rayjob("Running", **RUNNING),
        {"pods": all_ready()[1:]},
    ),
    "all pods gone": (
        "pending",
        "has lost its pods, though its RayJob says Running",
        rayjob("Running", **RUNNING),
        {},
    ),
    "operator cannot reach the head": (
        "running",
        "may be running, but the KubeRay operator has not reached its head for 4 min",
        rayjob("Running", jobStatusCheckFailureStartTime="2026-11-24T11:56:00Z", **RUNNING),
        {"pods": all_ready()},
    ),
    "job done, submitter not yet": (
        "succeeded",
        "succeeded in 50 min",
        rayjob("Running", spec=K8S_JOB, jobStatus="SUCCEEDED", **TOOK),
        {},
    ),
    "succeeded": (
        "succeeded",
        "succeeded in 50 min",
        rayjob("Complete", jobStatus="SUCCEEDED", **TOOK),
        {},
    ),
    "stopped, shown as Complete": (
        "stopped",
        "was stopped after 50 min",
        rayjob("Complete", jobStatus="STOPPED", message="Job was intentionally stopped.", **TOOK),
        {},
    ),
    "stopped, running by KubeRay": (
        "stopped",
        "was stopped",
        rayjob("Running", jobStatus="STOPPED"),
        {},
    ),
    "failed, shown as Complete": (
        "failed",
        "failed: its submitter ended while Ray's job had not, and KubeRay gave it up",
        rayjob("Complete", jobStatus="FAILED", reason="JobDeploymentStatusTransitionGracePeriodExceeded"),
        {},
    ),
    "Complete without a job status": (
        "failed",
        "has ended, and Ray never said how (no job status)",
        rayjob("Complete"),
        {},
    ),
    "stopped by its file, shown as Failed": (
        "stopped",
        "was stopped after 50 min",
        rayjob("Failed", jobStatus="FAILED", reason="AppFailed", message=by_exit_code(130), **TOOK),
        {},
    ),
    "training failed": (
        "failed",
        "failed: the loss is not finite at step 21: 1 problem",
        rayjob("Failed", jobStatus="FAILED", reason="AppFailed", message=FAILED_1),
        {},
    ),
    "failed without a log": (
        "failed",
        "failed: training failed",
        rayjob("Failed", jobStatus="FAILED", reason="AppFailed", message=by_exit_code(1)),
        {},
    ),
    "spec refused in the pod": (
        "failed",
        "failed: it was refused before training",
        rayjob("Failed", jobStatus="FAILED", reason="AppFailed", message=by_exit_code(2)),
        {},
    ),
    "driver killed": (
        "failed",
        "failed: its driver was killed (exit code -9), perhaps for want of memory",
        rayjob("Failed", jobStatus="FAILED", reason="AppFailed", message=by_exit_code(-9)),
        {},
    ),
    "driver and head out of memory": (
        "failed",
        "failed: the head ran out of memory (limit 8Gi)",
        rayjob("Failed", jobStatus="FAILED", reason="AppFailed", message=by_exit_code(-9)),
        {"pods": [HEAD_OOM]},
    ),
    "an image without tadrib": (
        "failed",
        "failed: the command tadrib is not in the image",
        rayjob("Failed", jobStatus="FAILED", reason="AppFailed", message=by_exit_code(127)),
        {},
    ),
    "Ray's own failure": (
        "failed",
        "failed: Unexpected error occurred: The actor died unexpectedly before finishing this task",
        rayjob(
            "Failed",
            jobStatus="FAILED",
            reason="AppFailed",
            message="Unexpected error occurred: The actor died unexpectedly before finishing this task.",
        ),
        {},
    ),
    "submission failed": (
        "failed",
        "failed: its job could not be submitted (Job submission has failed. Reason: BackoffLimitExceeded)",
        rayjob(
            "Failed",
            spec=K8S_JOB,
            reason="SubmissionFailed",
            message="Job submission has failed. Reason: BackoffLimitExceeded.",
        ),
        {},
    ),
    "submitter died, job ran": (
        "failed",
        "failed: its submitter pod died, so KubeRay ended the run while it went on training (Job submission "
        "has failed. Reason: BackoffLimitExceeded)",
        rayjob(
            "Failed",
            spec=K8S_JOB,
            jobStatus="RUNNING",
            reason="SubmissionFailed",
            message="Job submission has failed. Reason: BackoffLimitExceeded.",
        ),
        {},
    ),
    "submitter died, job succeeded": (
        "succeeded",
        "succeeded in 50 min",
        rayjob("Failed", spec=K8S_JOB, jobStatus="SUCCEEDED", reason="SubmissionFailed", message="x", **TOOK),
        {},
    ),
    "deadline": (
        "failed",
        "failed: it reached its deadline of 7 days",
        rayjob("Failed", jobStatus="RUNNING", reason="DeadlineExceeded", message="The RayJob has passed"),
        {},
    ),
    "did not start in time": (
        "failed",
        "failed: it did not start within 30 min: 0/3 nodes have 8 free nvidia.com/gpu",
        rayjob("Failed", reason="PreRunningDeadlineExceeded", message="The RayJob has passed"),
        {"pods": [ready("head"), unplaced(GPU)]},
    ),
    "did not start in time, pods gone": (
        "failed",
        "failed: it did not start within 30 min",
        rayjob("Failed", reason="PreRunningDeadlineExceeded", message="The RayJob has passed"),
        {},
    ),
    "head lost for good": (
        "failed",
        "failed: its head was lost: the head ran out of memory (limit 8Gi)",
        rayjob(
            "Failed", jobStatus="RUNNING", reason="JobStatusCheckTimeoutExceeded", message="Job status checks"
        ),
        {"pods": [HEAD_OOM]},
    ),
    "head out of reach for good": (
        "failed",
        "failed: the KubeRay operator could not reach its head for minutes, as after the loss of it",
        rayjob(
            "Failed", jobStatus="RUNNING", reason="JobStatusCheckTimeoutExceeded", message="Job status checks"
        ),
        {},
    ),
    "validation failed": (
        "failed",
        "is refused by KubeRay, which will not look at it again: The RayJob spec is invalid: a backoffLimit "
        "must be a non-negative integer",
        rayjob(
            "ValidationFailed",
            reason="ValidationFailed",
            message="The RayJob spec is invalid: a backoffLimit must be a non-negative integer",
        ),
        {},
    ),
    "retrying": (
        "pending",
        "is being started again from its last checkpoint, as start 1 of 3 failed: the loss is not finite at "
        "step 21: 1 problem",
        rayjob("Retrying", jobStatus="FAILED", reason="AppFailed", message=FAILED_1, failed=1),
        {},
    ),
    "failed in Ray, and to be retried": (
        "pending",
        "is being started again from its last checkpoint, as start 2 of 3 failed: training failed",
        rayjob("Running", jobStatus="FAILED", message=by_exit_code(1), failed=1),
        {},
    ),
    "failed in Ray for the last time": (
        "failed",
        "failed: training failed",
        rayjob("Running", jobStatus="FAILED", message=by_exit_code(1), failed=2),
        {},
    ),
    "started again": (
        "pending",
        "is being started again, as start 1 of 3 failed",
        {**rayjob(), "status": {"failed": 1}},
        {},
    ),
    "suspending by hand": (
        "stopped",
        "is being suspended, and holds no pods",
        rayjob("Suspending", spec={"suspend": True}),
        {},
    ),
    "suspended by hand": (
        "stopped",
        "was suspended by hand (spec.suspend), and holds no pods",
        rayjob("Suspended", spec={"suspend": True}),
        {},
    ),
    "a state of another version": (
        "pending",
        "is in a state that this version does not know: Scheduling",
        rayjob("Scheduling"),
        {},
    ),
}


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


def test_a_submitter_that_died_is_a_warning_while_the_job_runs():
    _, _, job, others = STATES["running, submitter died"]
    facts = dict(explain(RunObjects(job, **others), NOW).facts)
    assert facts["warning"] == (
        "its submitter pod died (BackoffLimitExceeded: Job has reached the specified backoff limit); KubeRay may call "
        "the run failed while it goes on"
    )


def test_what_may_not_be_read_is_said():
    told = explain(RunObjects(rayjob("Initializing"), unread=("pods", "events")), NOW)
    assert told.sentence == "arabic-dpo has been starting for 4 min, and you may not read its pods"
    assert ("not allowed to read", "pods, events") in told.facts
    queued = explain(
        RunObjects(rayjob("Suspended", queue="gpu", spec={"suspend": True}), unread=("workloads",)), NOW
    )
    assert "you may not read Kueue's workloads" in queued.sentence


PROGRESS = RunStatus("running", "/mnt/tadrib/runs/arabic-dpo", "arabic-dpo", 40, 100, seconds_left=750.0)


def test_a_running_run_says_how_far_it_is_where_its_directory_could_be_asked():
    told = explain(RunObjects(rayjob("Running", **RUNNING), pods=all_ready()), NOW, PROGRESS)
    assert told.sentence == "arabic-dpo is running: step 40 of 100, about 12:30 left"


def test_success_is_a_result_that_says_so_and_not_a_status_of_ray():
    job = rayjob("Complete", jobStatus="SUCCEEDED", **TOOK)
    done = RunStatus("succeeded", "x", "arabic-dpo", 100, 100, wall_seconds=3000.0)
    assert explain(RunObjects(job), NOW, done).sentence == "arabic-dpo succeeded: step 100 of 100 in 50:00"
    told = explain(RunObjects(job), NOW, RunStatus("died", "x", "arabic-dpo", 60))
    assert told.exit_code == 1
    assert "no result.json that says so" in told.sentence


def test_a_failed_run_gives_the_reason_of_its_directory():
    job = rayjob("Failed", jobStatus="FAILED", reason="AppFailed", message=by_exit_code(1))
    known = RunStatus("failed", "x", "arabic-dpo", 20, 100, error="worker 1 died\nmore")
    assert explain(RunObjects(job), NOW, known).sentence == "arabic-dpo failed at step 20: worker 1 died"


@pytest.mark.parametrize("name", STATES)
def test_whatever_does_not_go_well_names_a_next_step(name):
    state, _, job, others = STATES[name]
    told = explain(RunObjects(job, **others), NOW)
    if state in ("failed", "stopped"):
        assert told.action.endswith(".")
