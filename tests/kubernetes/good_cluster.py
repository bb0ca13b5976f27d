# SPDX-License-Identifier: Apache-2.0
"""A cluster in good order, the spec of a run that fits it, and values that name what it has."""

from __future__ import annotations

from tests.kubernetes.recorded import condition

SPEC = """\
method: dpo
name: arabic-dpo
dataset_path: data/rows.jsonl
storage_path: runs
resources: {num_workers: 4, workers_per_node: 1, gpus_per_worker: 1, cpus_per_worker: 8, memory_per_worker: 64Gi}
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
