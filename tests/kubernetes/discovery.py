# SPDX-License-Identifier: Apache-2.0
"""Discovery: what the test's API server says of its version and of the kinds it holds."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

KINDS = {  # path of the group and version: plural, kind, whether it is in a namespace
    "/api/v1": [
        ("namespaces", "Namespace", False),
        ("nodes", "Node", False),
        ("pods", "Pod", True),
        ("configmaps", "ConfigMap", True),
        ("secrets", "Secret", True),
        ("serviceaccounts", "ServiceAccount", True),
        ("persistentvolumeclaims", "PersistentVolumeClaim", True),
        ("events", "Event", True),
    ],
    "/apis/apps/v1": [("deployments", "Deployment", True)],
    "/apis/batch/v1": [("jobs", "Job", True)],
    "/apis/ray.io/v1": [("rayjobs", "RayJob", True), ("rayclusters", "RayCluster", True)],
    "/apis/kueue.x-k8s.io/v1beta2": [("workloads", "Workload", True), ("localqueues", "LocalQueue", True)],
    "/apis/networking.k8s.io/v1": [("networkpolicies", "NetworkPolicy", True)],
    "/apis/storage.k8s.io/v1": [("storageclasses", "StorageClass", False)],
    "/apis/scheduling.k8s.io/v1": [("priorityclasses", "PriorityClass", False)],
    "/apis/authorization.k8s.io/v1": [("selfsubjectaccessreviews", "SelfSubjectAccessReview", False)],
}


def discovery(path: str, groups: set[str], server_version: str) -> Object | None:
    if path == "/version":
        major, minor = server_version.removeprefix("v").split(".")[:2]
        return {"major": major, "minor": minor, "gitVersion": server_version}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        names = [group.removeprefix("/apis/") for group in KINDS if group != "/api/v1" and group in groups]
        versions = [{"groupVersion": name, "version": name.split("/")[1]} for name in names]
        groups = [
            {"name": each["groupVersion"].split("/")[0], "versions": [each], "preferredVersion": each}
            for each in versions
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path.startswith("/openapi/v3"):
        return _openapi(path.removeprefix("/openapi/v3"))
    if path in groups:
        verbs = ["create", "delete", "get", "list", "patch", "update"]
        resources = [
            {"name": plural, "singularName": kind.lower(), "namespaced": inside, "kind": kind, "verbs": verbs}
            for plural, kind, inside in KINDS[path]
        ]
        group = path.removeprefix("/apis/").removeprefix("/api/")
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources}
    return None


def _openapi(group: str) -> Object:
    """As much of the OpenAPI documents as makes Helm leave validation to the server."""
    if not group:
        return {"paths": {each.lstrip("/"): {"serverRelativeURL": f"/openapi/v3{each}"} for each in KINDS}}
    version = group.removeprefix("/apis/").removeprefix("/api/")
    of, _, number = version.rpartition("/")
    paths = {}
    for plural, kind, inside in KINDS[group]:
        named = {"group": of, "version": number, "kind": kind}
        patch = {
            "parameters": [{"name": "fieldValidation", "in": "query"}],
            "x-kubernetes-group-version-kind": named,
        }
        place = "/namespaces/{namespace}" if inside else ""
        paths[f"{group}{place}/{plural}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "test", "version": "1"}, "paths": paths, "components": {}}
