# SPDX-License-Identifier: Apache-2.0
"""Nodes: those that pods may be placed on, with what they can give and what of that is free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tadrib.ray_jobs.kube.api import ClusterError, KubernetesApi
from tadrib.ray_jobs.kube.status.scheduling import requests_of
from tadrib.ray_jobs.kube.status.units import quantity

Object = dict[str, Any]
Amounts = dict[str, Decimal]


@dataclass(slots=True)
class Node:
    """A node that pods may be placed on, what it can give, and what of that is free."""

    name: str
    thing: Object
    whole: Amounts
    free: Amounts


def nodes_of(nodes: Iterable[Object], pods: Iterable[Object]) -> list[Node]:
    """Nodes that are ready and not cordoned, with what pods on them leave free."""
    asked: dict[str, Amounts] = {}
    for pod in pods:
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue
        taken = asked.setdefault(pod["spec"].get("nodeName") or "", {})
        for resource, number in {**requests_of(pod["spec"]), "pods": "1"}.items():
            taken[resource] = taken.get(resource, Decimal(0)) + quantity(number)
    return [_node(node, asked.get(node["metadata"]["name"], {})) for node in nodes if _is_usable(node)]


def _node(node: Object, taken: Amounts) -> Node:
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    whole = {resource: quantity(number) for resource, number in allocatable.items()}
    free = {resource: number - taken.get(resource, Decimal(0)) for resource, number in whole.items()}
    return Node(node["metadata"]["name"], node, whole, free)


def _is_usable(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or []
    is_ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return is_ready and not node["spec"].get("unschedulable")


def may_run(spec: Object, node: Object) -> bool:
    """Whether nodeSelector and tolerations of a pod admit it to the node; affinity is not looked at."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    taints = node["spec"].get("taints") or []
    hard = [taint for taint in taints if taint["effect"] in ("NoSchedule", "NoExecute")]
    return all(any(_tolerates(each, taint) for each in spec.get("tolerations") or []) for taint in hard)


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")


def what_grows(api: KubernetesApi) -> str:
    """What adds nodes to this cluster, as far as it shows; empty where nothing does."""
    probes = {
        "The cluster autoscaler": "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status",
        "Karpenter": "/apis/karpenter.sh/v1",
    }
    for name, path in probes.items():
        try:
            api.get(path)
        except ClusterError:
            continue
        return name
    return ""
