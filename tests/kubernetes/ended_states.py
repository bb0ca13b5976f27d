# SPDX-License-Identifier: Apache-2.0
"""States of runs that run or have ended, each by its objects: how it is told, in what words after the run's name."""

from __future__ import annotations

from tests.kubernetes.recorded import (
    FAILED_1,
    GPU,
    HEAD_OOM,
    K8S_JOB,
    RUNNING,
    SUBMITTER_DIED,
    TOOK,
    all_ready,
    by_exit_code,
    ended,
    rayjob,
    ready,
    submitter_job,
    unplaced,
)

ENDED = {
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
        "has lost its head, and its pod has not been created again",
        rayjob("Running", **RUNNING),
        {"pods": all_ready()[1:]},
    ),
    "all pods gone": (
        "pending",
        "has lost its pods, though its RayJob is Running",
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
        "failed: its submitter ended before Ray's job did, and KubeRay gave up",
        rayjob("Complete", jobStatus="FAILED", reason="JobDeploymentStatusTransitionGracePeriodExceeded"),
        {},
    ),
    "Complete without a job status": (
        "failed",
        "has ended, but Ray did not report how (no job status)",
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
        "failed: its driver was killed (exit code -9), perhaps because memory ran out",
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
        "failed: its submitter pod died, so KubeRay ended the run while it was training (Job submission "
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
    "head unreachable for good": (
        "failed",
        "failed: the KubeRay operator could not reach its head for minutes, perhaps because the head was lost",
        rayjob(
            "Failed", jobStatus="RUNNING", reason="JobStatusCheckTimeoutExceeded", message="Job status checks"
        ),
        {},
    ),
    "validation failed": (
        "failed",
        "was rejected by KubeRay, which will not retry it: The RayJob spec is invalid: a backoffLimit "
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
        "is being restarted from its last checkpoint, as start 1 of 3 failed: the loss is not finite at "
        "step 21: 1 problem",
        rayjob("Retrying", jobStatus="FAILED", reason="AppFailed", message=FAILED_1, failed=1),
        {},
    ),
    "failed in Ray, and to be retried": (
        "pending",
        "is being restarted from its last checkpoint, as start 2 of 3 failed: training failed",
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
        "is being restarted, as start 1 of 3 failed",
        {**rayjob(), "status": {"failed": 1}},
        {},
    ),
    "suspending by hand": (
        "stopped",
        "is being suspended, and has no pods",
        rayjob("Suspending", spec={"suspend": True}),
        {},
    ),
    "suspended manually": (
        "stopped",
        "was suspended manually (spec.suspend), and has no pods",
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
