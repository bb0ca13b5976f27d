# SPDX-License-Identifier: Apache-2.0
"""Cluster checks: whether the cluster can execute runs, and whether the user may submit them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from tadrib.ray_jobs.kube.api import Forbidden, KubernetesApi
from tadrib.ray_jobs.kube.doctor.checks import Check, fail, looked_up, ok, unless_forbidden, unread, warn
from tadrib.ray_jobs.kube.manifests import OPERATOR_GUIDE, manifest
from tadrib.ray_jobs.kube.status.pods import is_ready, trouble_of

Object = dict[str, Any]

_OLDEST, _NEWEST = (1, 31), (1, 36)
_KUBERAY = (1, 7)
_OPERATOR = "app.kubernetes.io/component=kuberay-operator"
_INSTALL = f"Install KubeRay 1.7: {OPERATOR_GUIDE}."
_RIGHTS = (  # group, resource, verb; what `submit` and `helm` do
    ("ray.io", "rayjobs", "create"),
    ("ray.io", "rayjobs", "delete"),
    ("", "configmaps", "create"),
    ("", "serviceaccounts", "create"),
    ("networking.k8s.io", "networkpolicies", "create"),
    ("", "pods", "list"),
    ("", "pods/log", "get"),
)
_RIGHTS_TO_ASK = (("", "pods/exec", "get"), ("", "events", "list"))


def cluster_checks(api: KubernetesApi, operator_namespace: str) -> Iterator[Check]:
    """Raises Unreachable, or Forbidden if the cluster does not authenticate the user."""
    yield _version(api)
    yield from unless_forbidden("namespace", "namespaces", lambda: _namespace(api))
    yield from _kuberay(api)
    yield from _operator(api, operator_namespace)
    yield from _rights(api)


def _version(api: KubernetesApi) -> Check:
    text = api.get("/version").get("gitVersion", "")
    numbers = re.match(r"v(\d+)\.(\d+)", text)
    version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    said = f"Kubernetes {text} at {api.address}"
    if version < _OLDEST:
        return fail("cluster", said, "Runs need Kubernetes 1.31 or later.")
    if version > _NEWEST:
        return warn("cluster", said, "Rendered objects were checked against 1.31 to 1.36.")
    return ok("cluster", said)


def _namespace(api: KubernetesApi) -> Iterator[Check]:
    found = looked_up(api, f"/api/v1/namespaces/{api.namespace}")
    if found is None:
        action = f"Apply what tadrib needs there (`kubectl apply -k {manifest('base')}`), or give another --namespace."
        yield fail("namespace", f"there is no namespace {api.namespace}", action)
        return
    level = (found["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce")
    yield ok("namespace", f"{api.namespace}{f', Pod Security {level}' if level else ''}")


def _kuberay(api: KubernetesApi) -> Iterator[Check]:
    group = looked_up(api, "/apis/ray.io/v1") or {}
    kinds = {each["name"] for each in group.get("resources") or []}
    missing = sorted({"rayjobs", "rayclusters"} - kinds)
    if missing:
        yield fail("KubeRay's kinds", f"the cluster has no {' and no '.join(missing)} of ray.io/v1", _INSTALL)
    else:
        yield ok("KubeRay's kinds", "rayjobs and rayclusters of ray.io/v1")


def _operator(api: KubernetesApi, expected: str) -> Iterator[Check]:
    name = "KubeRay operator"
    for path in ("/api/v1/pods", f"/api/v1/namespaces/{expected}/pods"):
        try:
            pods = api.list(path, labelSelector=_OPERATOR)
            break
        except Forbidden:
            continue
    else:
        yield unread(name, f"pods of namespace {expected}")
        return
    if not pods:
        yield fail(name, "no pod of the operator was found", _INSTALL)
        return
    pod = next((each for each in pods if is_ready(each)), pods[0])
    yield _running_operator(name, pod)
    yield from _reach_of_operator(api, pod, expected)


def _running_operator(name: str, pod: Object) -> Check:
    image = pod["spec"]["containers"][0].get("image", "")
    where = f"{image} in namespace {pod['metadata']['namespace']}"
    if not is_ready(pod):
        trouble = trouble_of(pod)
        return fail(
            name, f"it is not running: {trouble.text if trouble else where}", "No run starts without it."
        )
    version = re.search(r":v?(\d+)\.(\d+)", image)
    if version is None:
        return warn(name, f"{where}, whose tag does not contain a version", "Runs need KubeRay 1.7.")
    if (int(version[1]), int(version[2])) < _KUBERAY:
        return fail(
            name, where, "Runs need KubeRay 1.7: upgrade it, and its CRDs, which Helm does not upgrade."
        )
    return ok(name, where)


def _reach_of_operator(api: KubernetesApi, pod: Object, expected: str) -> Iterator[Check]:
    """Whether the operator watches our namespace, and whether the runs' network policy admits it."""
    arguments = " ".join(pod["spec"]["containers"][0].get("args") or [])
    watched = re.search(r"--?watch-namespace[= ](\S+)", arguments)
    if watched and api.namespace not in watched[1].split(","):
        action = f"Add {api.namespace} to the operator's watchNamespace."
        yield fail("watched namespaces", f"the operator watches {watched[1]}, not {api.namespace}", action)
    home = pod["metadata"]["namespace"]
    if home != expected:
        said = f"the operator is in {home}, but pods of runs only admit {expected}: every job would fail after 300 s"
        yield fail("network policy", said, f"Set platform.networkPolicy.operatorNamespace: {home}.")


def _rights(api: KubernetesApi) -> Iterator[Check]:
    driver = os.environ.get("HELM_DRIVER", "secret")
    storage = [("", "secrets", "create")] if driver in ("secret", "secrets") else []
    denied = [right for right in (*_RIGHTS, *storage) if not _may(api, *right)]
    if ("", "secrets", "create") in denied:
        denied.remove(("", "secrets", "create"))
        said = "Helm stores releases in Secrets, which you may not create"
        yield fail("Helm's releases", said, "Set HELM_DRIVER=configmap for tadrib and for helm.")
    if denied:
        said = f"in {api.namespace} you may not {', '.join(f'{verb} {kind}' for _, kind, verb in denied)}"
        yield fail("rights", said, "Ask for the role tadrib-submitter.")
    else:
        yield ok("rights", f"you may submit, follow and stop runs in {api.namespace}")
    lacking = [f"{verb} {kind}" for group, kind, verb in _RIGHTS_TO_ASK if not _may(api, group, kind, verb)]
    if lacking:
        said = f"you may not {', '.join(lacking)}: logs and steps of runs, or reasons for waiting, will be missing"
        yield warn("rights to follow", said, "Ask for the role tadrib-submitter.")


def _may(api: KubernetesApi, group: str, resource: str, verb: str) -> bool:
    kind, _, part = resource.partition("/")
    wanted = {"namespace": api.namespace, "group": group, "resource": kind, "verb": verb}
    if part:
        wanted["subresource"] = part
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = api.create(path, {**review, "metadata": {}, "spec": {"resourceAttributes": wanted}})
    return bool((answer.get("status") or {}).get("allowed"))
