# SPDX-License-Identifier: Apache-2.0
"""States of runs that wait, each by its objects: how it is told, and in what words after the run's name."""

from __future__ import annotations

from tests.kubernetes.recorded import (
    GPU,
    K8S_JOB,
    NAME,
    SECONDS_9,
    all_ready,
    condition,
    event,
    pod,
    raycluster,
    rayjob,
    ready,
    unplaced,
    waits,
)

WAITING = {
    "not yet seen": ("pending", "has been submitted and is starting", rayjob(made=SECONDS_9), {}),
    "no operator": (
        "pending",
        "has been pending for 4 min: no KubeRay operator is processing it",
        rayjob(),
        {},
    ),
    "initializing": (
        "pending",
        "has been starting for 4 min: its pods are being created",
        rayjob("Initializing"),
        {},
    ),
    "pods run, Ray does not answer": (
        "pending",
        "has been starting for 4 min: all pods are running; waiting for Ray",
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
        "has been pending for 4 min: the scheduler default-scheduler has not processed the head yet",
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
        "denies access",
        rayjob("Initializing"),
        {"pods": [waits("ErrImagePull", "pull access denied, authorization failed", "head")]},
    ),
    "registry unreachable": (
        "pending",
        "has been pending for 4 min: the image registry.example/tadrib:0.1.0 cannot be pulled: its registry "
        "cannot be reached",
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
        "has been pending for 4 min: the image registry.example/tadrib:0.1.0 is not a valid image name",
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
        "has been pending for 4 min: the namespace's Pod Security standard forbids its pods: "
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
        "waits for a job to be submitted to its cluster (InteractiveMode)",
        rayjob("Waiting"),
        {},
    ),
    "on another cluster": (
        "pending",
        "runs on another cluster, managed by kueue.x-k8s.io/multikueue",
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
        "has a cluster, but its job cannot be submitted: its submitter is not running: a container cannot be "
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
}
