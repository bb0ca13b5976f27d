# SPDX-License-Identifier: Apache-2.0
"""doctor: a cluster in good order passes; each thing that is broken is one check that says what to do."""

from __future__ import annotations

import json

import pytest

from tests.charts.helm import find_helm
from tests.kubernetes.recorded import condition

SPEC = """\
method: dpo
name: arabic-dpo
dataset_path: data/rows.jsonl
storage_path: runs
resources: {num_workers: 4, gpus_per_worker: 1, cpus_per_worker: 8, memory_per_worker: 64Gi}
"""
VALUES = """\
platform:
  image: {repository: registry.example/tadrib, tag: 0.1.0, pullSecrets: [registry]}
  storage: {claim: tadrib}
  queue: {kind: kueue, name: gpu}
  secrets: [{env: HF_TOKEN, secret: huggingface, key: token}]
"""


def thing(version, kind, name, namespace=None, **fields):
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": meta, **fields}


def node(name, gpus=2, **fields):
    allocatable = {"cpu": "96", "memory": "1Ti", "nvidia.com/gpu": str(gpus), "pods": "110"}
    taints = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}] if gpus else []
    images = [{"names": ["registry.example/tadrib:0.1.0"]}]
    status = {"allocatable": allocatable, "conditions": [condition("Ready")], "images": images}
    return thing("v1", "Node", name, spec={"taints": taints, **fields}, status=status)


def pod_on(name, where, gpus, phase="Running"):
    requests = {"cpu": "8", "nvidia.com/gpu": str(gpus)}
    spec = {"nodeName": where, "containers": [{"name": "c", "resources": {"requests": requests}}]}
    return thing("v1", "Pod", name, "others", spec=spec, status={"phase": phase})


def operator(image="quay.io/kuberay/operator:v1.7.0", namespace="kuberay-system", args=(), status="True"):
    container = {"name": "kuberay-operator", "image": image, "args": list(args)}
    pod = thing(
        "v1", "Pod", "kuberay-operator-7d", namespace, spec={"containers": [container], "nodeName": "cpu-1"}
    )
    pod["metadata"]["labels"] = {"app.kubernetes.io/component": "kuberay-operator"}
    return {**pod, "status": {"phase": "Running", "conditions": [condition("Ready", status)]}}


CLAIM = {"accessModes": ["ReadWriteMany"], "storageClassName": "nfs"}


def a_good_cluster():
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = thing("v1", "Namespace", "team-a")
    namespace["metadata"]["labels"] = labels
    return [
        namespace,
        operator(),
        node("cpu-1", gpus=0),
        node("gpu-1"),
        node("gpu-2"),
        thing("v1", "PersistentVolumeClaim", "tadrib", "team-a", spec=CLAIM, status={"phase": "Bound"}),
        thing("v1", "Secret", "huggingface", "team-a", data={"token": "c2VjcmV0"}),
        thing("v1", "Secret", "registry", "team-a", data={}),
        thing(
            "kueue.x-k8s.io/v1beta2",
            "LocalQueue",
            "gpu",
            "team-a",
            status={"pendingWorkloads": 2, "conditions": [condition("Active")]},
        ),
    ]


@pytest.fixture
def files(tmp_path, cluster):
    if find_helm() is None:
        pytest.skip("no helm: set $HELM, or run `python charts/get_helm.py`")
    cluster.add(*a_good_cluster())
    (tmp_path / "run.yaml").write_text(SPEC)
    (tmp_path / "platform.yaml").write_text(VALUES)
    return [str(tmp_path / "run.yaml"), "--values", str(tmp_path / "platform.yaml")]


def found(done):
    """Checks of a doctor's JSON, by name."""
    return {check["name"]: check for check in json.loads(done.out)}


def test_a_good_cluster_passes_every_check(files, tadrib):
    done = tadrib("doctor", *files)
    assert done.code == 0, done.out
    lines = done.out.splitlines()
    assert lines[-1] == "no check failed"
    assert all(line.startswith("✓ ") for line in lines[:-1])
    for said in (
        "Kubernetes v1.34.1 at http://",
        "team-a, Pod Security restricted",
        "rayjobs and rayclusters of ray.io/v1",
        "quay.io/kuberay/operator:v1.7.0 in namespace kuberay-system",
        "you may submit, follow and stop runs in team-a",
        "LocalQueue gpu admits runs, and 2 wait",
        "claim tadrib is bound (ReadWriteMany)",
        "Secret huggingface is there, with token",
        "Secret registry is there",
        "arabic-dpo, made with the run; its token is not mounted",
        "registry.example/tadrib:0.1.0, on 3 of 3 nodes already",
        "room for the head",
        "room for 4 workers",
        "1 nvidia.com/gpu",
    ):
        assert said in done.out
    assert "c2VjcmV0" not in done.out


def test_without_a_spec_the_cluster_and_what_the_values_name_are_checked(files, tadrib):
    checks = found(tadrib("doctor", *files[1:], "--json"))
    assert checks["secrets"]["verdict"] == "ok"
    assert not any(name.startswith("room for") for name in checks)


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
    "no operator": (without(OPERATOR), "KubeRay operator", "fail", "no pod of it was found"),
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
        "it does not run",
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
        "watches team-b,team-c and not team-a",
    ),
    "no rights": (setting(denied={"create rayjobs"}), "rights", "fail", "you may not create rayjobs"),
    "no rights on Secrets": (
        setting(denied={"create secrets"}),
        "Helm's releases",
        "fail",
        "Helm keeps releases",
    ),
    "no rights to exec": (setting(denied={"get pods"}), "rights to look", "warn", "get pods/exec"),
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
        "ReadWriteOnce, so all pods must fit one node",
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
        "is bound when its first pod comes",
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
        "room for 4 workers",
        "warn",
        "0/3 nodes have 1 free nvidia.com/gpu",
    ),
    "some GPUs in use": (adding(pod_on("a", "gpu-1", 1)), "room for 4 workers", "warn", "3 of 4 fit now"),
    "GPUs that ended pods held": (
        adding(pod_on("a", "gpu-1", 2, "Succeeded")),
        "room for 4 workers",
        "ok",
        "for 8 cpu, 64Gi memory, 1 nvidia.com/gpu each",
    ),
    "too few GPU nodes": (
        without("/api/v1/nodes/gpu-2"),
        "room for 4 workers",
        "fail",
        "nodes hold 2 of 4, even when",
    ),
    "nodes without GPUs": (
        lambda cluster: cluster.add(node("gpu-1", 0), node("gpu-2", 0)),
        "room for 4 workers",
        "fail",
        "0/3 nodes have 1 free nvidia.com/gpu, even when they are empty",
    ),
    "nodes that may grow": (
        lambda cluster: (
            without("/api/v1/nodes/gpu-2")(cluster),
            cluster.add(thing("v1", "ConfigMap", "cluster-autoscaler-status", "kube-system")),
        ),
        "room for 4 workers",
        "warn",
        "nodes hold 2 of 4",
    ),
    "cordoned nodes": (
        lambda cluster: cluster.add(node("gpu-1", unschedulable=True), node("gpu-2", unschedulable=True)),
        "room for 4 workers",
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
        "room for the head",
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


@pytest.mark.parametrize(("harm", "name", "verdict", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_found(harm, name, verdict, said, files, cluster, tadrib):
    harm(cluster)
    done = tadrib("doctor", *files, "--json")
    checks = [check for check in json.loads(done.out) if check["name"] == name and said in check["said"]]
    assert [check["verdict"] for check in checks] == [verdict], done.out
    assert bool(checks[0]["action"]) == (verdict != "ok")
    failed = [check for check in json.loads(done.out) if check["verdict"] == "fail"]
    assert done.code == (1 if failed else 0)


@pytest.mark.parametrize(
    ("values", "name", "verdict", "said"),
    [
        (
            "platform:\n  storage: {claim: tadrib}\n  image: {pullPolicy: Never}\n",
            "image",
            "warn",
            "pullPolicy is Never",
        ),
        ("platform:\n  storage: {claim: tadrib}\n", "image", "warn", "its name has no registry"),
        ("platform:\n  storage: {claim: tadrib}\n", "queue", "ok", "none"),
        (
            "platform:\n  storage: {claim: tadrib}\n  queue: {kind: volcano, name: q}\n",
            "queue",
            "fail",
            "the cluster has no Volcano",
        ),
        (
            "platform:\n  storage: {claim: tadrib}\n  queue: {kind: yunikorn, name: root.q}\n",
            "queue",
            "warn",
            "queue root.q of YuniKorn is not looked at",
        ),
        (
            "platform:\n  storage: {claim: tadrib}\n  serviceAccount: {create: false, name: runner}\n",
            "service account",
            "fail",
            "there is no service account runner",
        ),
        (
            "platform:\n  storage: {claim: tadrib}\n  priorityClass: high\n",
            "priority class",
            "fail",
            "there is no priority class high",
        ),
        ("platform: {}\n", "spec and values", "fail", "Set platform.storage.claim"),
    ],
)
def test_what_the_values_ask_for_and_is_not_there_is_found(
    values, name, verdict, said, files, tadrib, tmp_path
):
    (tmp_path / "platform.yaml").write_text(values)
    check = found(tadrib("doctor", *files, "--json"))[name]
    assert (check["verdict"], said in check["said"]) == (verdict, True), check


def test_what_fails_is_shown_with_what_to_do(files, cluster, tadrib):
    without(QUEUE)(cluster)
    done = tadrib("doctor", *files)
    assert done.code == 1
    assert "✗ queue" in done.out
    assert "Ask the administrator for a LocalQueue here." in done.out
    assert done.out.splitlines()[-1].startswith("1 of ")


def test_a_cluster_that_cannot_be_reached_is_3_and_one_that_wants_a_login_too(files, cluster, tadrib):
    cluster.token = "another"
    done = tadrib("doctor", *files)
    assert done.code == 3
    assert "does not know you (401)" in done.err


def test_without_helm_the_cluster_is_still_checked(files, tadrib, monkeypatch):
    monkeypatch.setenv("HELM", "/nowhere/helm")
    checks = found(tadrib("doctor", *files, "--json"))
    assert checks["cluster"]["verdict"] == "ok"
    assert checks["spec and values"]["verdict"] == "fail"
    assert "Install Helm 4" in checks["spec and values"]["said"]
