# SPDX-License-Identifier: Apache-2.0
"""Harm: what can be wrong with a cluster, by name: how it is done, and the check that finds it, with its verdict."""

from __future__ import annotations

from tests.kubernetes.good_cluster import node, operator, pod_on, thing
from tests.kubernetes.recorded import condition


def change(path, **fields):
    """Set fields of an object, given as dotted paths with underscores for the dots."""

    def apply(cluster):
        for key, value in fields.items():
            at = cluster.objects[path]
            *parents, leaf = key.split("__")
            for parent in parents:
                at = at[parent]
            at[leaf] = value

    return apply


def without(*paths):
    return lambda cluster: [cluster.objects.pop(path) for path in paths]


def adding(*things):
    return lambda cluster: cluster.add(*things)


def setting(**fields):
    return lambda cluster: [setattr(cluster, key, value) for key, value in fields.items()]


TEAM = "/api/v1/namespaces/team-a"
QUEUE = "/apis/kueue.x-k8s.io/v1beta2/namespaces/team-a/localqueues/gpu"
PVC = f"{TEAM}/persistentvolumeclaims/tadrib"
OPERATOR = "/api/v1/namespaces/kuberay-system/pods/kuberay-operator-7d"
CLASS = thing("storage.k8s.io/v1", "StorageClass", "nfs", volumeBindingMode="WaitForFirstConsumer")
BROKEN = {
    "old Kubernetes": (setting(version="v1.28.3"), "cluster", "fail", "Kubernetes v1.28.3"),
    "new Kubernetes": (setting(version="v1.40.0"), "cluster", "warn", "Kubernetes v1.40.0"),
    "no namespace": (without(TEAM), "namespace", "fail", "there is no namespace team-a"),
    "no KubeRay": (
        lambda cluster: cluster.groups.discard("/apis/ray.io/v1"),
        "KubeRay's kinds",
        "fail",
        "no rayclusters and no rayjobs",
    ),
    "no operator": (without(OPERATOR), "KubeRay operator", "fail", "no pod of the operator was found"),
    "old operator": (adding(operator("kuberay/operator:v1.5.1")), "KubeRay operator", "fail", "v1.5.1"),
    "operator without a version": (
        adding(operator("kuberay/operator:nightly")),
        "KubeRay operator",
        "warn",
        "nightly",
    ),
    "operator that does not run": (
        adding(operator(status="False")),
        "KubeRay operator",
        "fail",
        "it is not running",
    ),
    "operator elsewhere": (
        lambda cluster: (without(OPERATOR)(cluster), cluster.add(operator(namespace="ray"))),
        "network policy",
        "fail",
        "every job would fail after 300 s",
    ),
    "operator that looks elsewhere": (
        adding(operator(args=["--watch-namespace", "team-b,team-c"])),
        "watched namespaces",
        "fail",
        "watches team-b,team-c, not team-a",
    ),
    "no rights": (setting(denied={"create rayjobs"}), "rights", "fail", "you may not create rayjobs"),
    "no rights on Secrets": (
        setting(denied={"create secrets"}),
        "Helm's releases",
        "fail",
        "Helm stores releases",
    ),
    "no rights to exec": (setting(denied={"get pods"}), "rights to follow", "warn", "get pods/exec"),
    "no Kueue": (
        lambda cluster: cluster.groups.discard("/apis/kueue.x-k8s.io/v1beta2"),
        "queue",
        "fail",
        "the cluster has no Kueue",
    ),
    "no LocalQueue": (without(QUEUE), "queue", "fail", "there is no LocalQueue gpu in team-a"),
    "a LocalQueue that is closed": (
        change(
            QUEUE,
            status__conditions=[condition("Active", "False", "ClusterQueueIsInactive", "it is stopped")],
        ),
        "queue",
        "fail",
        "LocalQueue gpu admits nothing: it is stopped",
    ),
    "no claim": (without(PVC), "storage", "fail", "there is no claim tadrib in team-a"),
    "a claim that is lost": (change(PVC, status__phase="Lost"), "storage", "fail", "has lost its volume"),
    "a claim for one node": (
        change(PVC, spec__accessModes=["ReadWriteOnce"]),
        "storage",
        "warn",
        "ReadWriteOnce, so all pods must fit on one node",
    ),
    "no storage class": (
        change(PVC, status__phase="Pending"),
        "storage",
        "fail",
        "class nfs, which does not exist",
    ),
    "a claim not yet bound": (
        lambda cluster: (change(PVC, status__phase="Pending")(cluster), cluster.add(CLASS)),
        "storage",
        "ok",
        "will be bound when its first pod is scheduled",
    ),
    "no Secret": (
        without(f"{TEAM}/secrets/huggingface"),
        "secrets",
        "fail",
        "there is no Secret huggingface",
    ),
    "a key is missing": (
        change(f"{TEAM}/secrets/huggingface", data={"tokn": "x"}),
        "secrets",
        "fail",
        "Secret huggingface has no key token",
    ),
    "Secrets may not be read": (
        setting(refusals={f"{TEAM}/secrets": 403}),
        "secrets",
        "warn",
        "you may not read Secrets, so this was not checked",
    ),
    "image not on the nodes": (
        change("/api/v1/nodes/gpu-1", status__images=[]),
        "image",
        "ok",
        "on 2 of 3 nodes already; others pull it (IfNotPresent)",
    ),
    "GPUs in use": (
        adding(pod_on("a", "gpu-1", 2), pod_on("b", "gpu-2", 2)),
        "capacity for 4 workers",
        "warn",
        "0/3 nodes have 1 free nvidia.com/gpu",
    ),
    "some GPUs in use": (adding(pod_on("a", "gpu-1", 1)), "capacity for 4 workers", "warn", "3 of 4 fit now"),
    "GPUs that ended pods held": (
        adding(pod_on("a", "gpu-1", 2, "Succeeded")),
        "capacity for 4 workers",
        "ok",
        "for 8 cpu, 64Gi memory, 1 nvidia.com/gpu each",
    ),
    "too few GPU nodes": (
        without("/api/v1/nodes/gpu-2"),
        "capacity for 4 workers",
        "fail",
        "nodes hold 2 of 4, even when",
    ),
    "nodes without GPUs": (
        lambda cluster: cluster.add(node("gpu-1", 0), node("gpu-2", 0)),
        "capacity for 4 workers",
        "fail",
        "0/3 nodes have 1 free nvidia.com/gpu, even when they are empty",
    ),
    "nodes that may grow": (
        lambda cluster: (
            without("/api/v1/nodes/gpu-2")(cluster),
            cluster.add(thing("v1", "ConfigMap", "cluster-autoscaler-status", "kube-system")),
        ),
        "capacity for 4 workers",
        "warn",
        "nodes hold 2 of 4",
    ),
    "cordoned nodes": (
        lambda cluster: cluster.add(node("gpu-1", unschedulable=True), node("gpu-2", unschedulable=True)),
        "capacity for 4 workers",
        "fail",
        "0/1 nodes have 1 free nvidia.com/gpu",
    ),
    "taints that nobody tolerates": (
        lambda cluster: cluster.add(
            *(
                node(name, taints=[{"key": "team", "effect": "NoSchedule"}])
                for name in ("cpu-1", "gpu-1", "gpu-2")
            )
        ),
        "capacity for the head",
        "fail",
        "none of 3 ready nodes matches its nodeSelector and tolerations",
    ),
    "nodes may not be read": (
        setting(refusals={"/api/v1/nodes": 403}),
        "capacity",
        "warn",
        "you may not read nodes and pods of all namespaces",
    ),
}
