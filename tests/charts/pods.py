# SPDX-License-Identifier: Apache-2.0
"""Pods: every pod spec that comes of a rendered object, with what KubeRay adds to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]


def templates(thing: Object) -> Iterator[tuple[str, Object]]:
    """Role and pod template of each pod that an object makes; a Pod is its own template."""
    if thing["kind"] == "Pod":
        yield thing["metadata"]["labels"].get("app.kubernetes.io/component", "pod"), thing
    if thing["kind"] not in ("RayJob", "RayCluster"):
        return
    spec = thing["spec"]
    if "submitterPodTemplate" in spec:
        yield "submitter", spec["submitterPodTemplate"]
    cluster = spec.get("rayClusterSpec", spec)
    yield "head", with_autoscaler(cluster)
    for group in cluster.get("workerGroupSpecs", []):
        yield f"worker {group['groupName']}", group["template"]


def with_autoscaler(cluster: Object) -> Object:
    """The head's template with the container that KubeRay adds to it (pod.go, BuildAutoscalerContainer)."""
    template = cluster["headGroupSpec"]["template"]
    if not cluster.get("enableInTreeAutoscaling"):
        return template
    options = cluster["autoscalerOptions"]
    taken = ("securityContext", "env", "resources", "volumeMounts", "imagePullPolicy")
    image = template["spec"]["containers"][0]["image"]
    container = {
        "name": "autoscaler",
        "image": image,
        **{key: options[key] for key in taken if key in options},
    }
    spec = {**template["spec"], "containers": [*template["spec"]["containers"], container]}
    return {**template, "spec": spec}


def containers(pod: Object) -> list[Object]:
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec["containers"], *spec.get("ephemeralContainers", [])]


def environment(pod: Object, container: int = 0) -> dict[str, Object]:
    return {variable["name"]: variable for variable in pod["spec"]["containers"][container].get("env", [])}
