# SPDX-License-Identifier: Apache-2.0
"""Run checks: whether the cluster has what a run's objects refer to: queue, storage, Secrets, service account, classes,
image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tadrib.ray_jobs.kube.api import KubernetesApi
from tadrib.ray_jobs.kube.doctor.capacity import capacity_checks
from tadrib.ray_jobs.kube.doctor.checks import Check, fail, looked_up, ok, unless_forbidden, warn
from tadrib.ray_jobs.kube.doctor.storage_checks import storage_checks
from tadrib.ray_jobs.kube.status.queues import queue_of

Object = dict[str, Any]

_OTHER_QUEUES = {
    "volcano.sh/queue-name": ("Volcano", "/apis/scheduling.volcano.sh/v1beta1"),
    "yunikorn.apache.org/queue": ("YuniKorn", None),
    "kai.scheduler/queue": ("KAI", "/apis/scheduling.run.ai/v2"),
}


def run_checks(api: KubernetesApi, objects: list[Object], *, with_capacity: bool) -> Iterator[Check]:
    """Checks of everything that a run's objects refer to; ``with_capacity``: and of the capacity for its pods."""
    (job,) = [each for each in objects if each["kind"] == "RayJob"]
    made = {(each["kind"], each["metadata"]["name"]) for each in objects}
    groups = pod_groups(job)
    specs = [template["spec"] for template, _ in groups]
    yield from unless_forbidden("queue", "queues", lambda: _queue(api, job))
    yield from unless_forbidden("storage", "claims", lambda: storage_checks(api, specs[0], len(groups) > 1))
    yield from unless_forbidden("secrets", "Secrets", lambda: _secrets(api, job, specs))
    yield from unless_forbidden("service account", "service accounts", lambda: _account(api, specs[0], made))
    yield from unless_forbidden("classes", "priority and runtime classes", lambda: _classes(api, specs))
    yield from unless_forbidden("image", "nodes", lambda: _image(api, specs[0]))
    if with_capacity:
        yield from unless_forbidden(
            "capacity", "nodes and pods of all namespaces", lambda: capacity_checks(api, groups)
        )


def pod_groups(job: Object) -> list[tuple[Object, int]]:
    """Pod template and number of pods of the head, then of each group of workers."""
    cluster = job["spec"]["rayClusterSpec"]
    workers = [(group["template"], int(group["replicas"])) for group in cluster.get("workerGroupSpecs") or []]
    return [(cluster["headGroupSpec"]["template"], 1), *workers]


def _queue(api: KubernetesApi, job: Object) -> Iterator[Check]:
    labels = job["metadata"].get("labels") or {}
    for label, (scheduler, group) in _OTHER_QUEUES.items():
        if label in labels:
            yield _other_queue(api, scheduler, group, labels[label])
            return
    name = queue_of(job)
    if not name:
        yield ok("queue", "none: only the scheduler decides on pods")
        return
    if looked_up(api, "/apis/kueue.x-k8s.io/v1beta2") is None:
        action = "Install Kueue 0.18 or later, or remove platform.queue."
        yield fail("queue", "the cluster has no Kueue (kueue.x-k8s.io/v1beta2)", action)
        return
    path = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{api.namespace}/localqueues"
    queue = looked_up(api, f"{path}/{name}")
    if queue is None:
        names = [each["metadata"]["name"] for each in api.list(path)]
        action = f"There are {', '.join(names)}." if names else "Ask the administrator for a LocalQueue here."
        yield fail("queue", f"there is no LocalQueue {name} in {api.namespace}", action)
        return
    status = queue.get("status") or {}
    active = next((each for each in status.get("conditions") or [] if each["type"] == "Active"), None)
    if active and active["status"] != "True":
        said = f"LocalQueue {name} admits nothing: {active.get('message') or active.get('reason')}"
        yield fail("queue", said, "Ask the administrator.")
        return
    waiting = status.get("pendingWorkloads") or 0
    yield ok("queue", f"LocalQueue {name} admits runs{f'; {waiting} are waiting' if waiting else ''}")


def _other_queue(api: KubernetesApi, scheduler: str, group: str | None, name: str) -> Check:
    if group and looked_up(api, group) is None:
        return fail(
            "queue", f"the cluster has no {scheduler}", "Install it, or set platform.queue.kind: none."
        )
    action = f"Check that it exists, and that the KubeRay operator has batchScheduler.name for {scheduler}."
    return warn("queue", f"queue {name} of {scheduler} was not checked", action)


def _secrets(api: KubernetesApi, job: Object, specs: list[Object]) -> Iterator[Check]:
    """Secrets by name and keys; their values are not used."""
    wanted: dict[str, set[str]] = {}
    for spec in specs:
        for reference in spec.get("imagePullSecrets") or []:
            wanted.setdefault(reference["name"], set())
        for variable in spec["containers"][0].get("env") or []:
            if reference := (variable.get("valueFrom") or {}).get("secretKeyRef"):
                wanted.setdefault(reference["name"], set()).add(reference["key"])
    token = (job["spec"]["rayClusterSpec"].get("authOptions") or {}).get("secretName")
    if token:
        wanted.setdefault(token, set()).add("auth_token")
    for name, keys in sorted(wanted.items()):
        secret = looked_up(api, f"/api/v1/namespaces/{api.namespace}/secrets/{name}")
        missing = sorted(keys - set((secret or {}).get("data") or {}))
        if secret is None:
            action = f"Create it: kubectl create secret generic {name} --namespace {api.namespace} …"
            yield fail("secrets", f"there is no Secret {name} in {api.namespace}", action)
        elif missing:
            yield fail(
                "secrets",
                f"Secret {name} has no key {', '.join(missing)}",
                "Add it, or correct platform.secrets.",
            )
        else:
            with_keys = f", with {', '.join(sorted(keys))}" if keys else ""
            yield ok("secrets", f"Secret {name} exists{with_keys}")


def _account(api: KubernetesApi, spec: Object, made: set[tuple[str, str]]) -> Iterator[Check]:
    name = spec.get("serviceAccountName") or "default"
    if ("ServiceAccount", name) in made:
        yield ok("service account", f"{name}, created with the run; its token is not mounted")
    elif looked_up(api, f"/api/v1/namespaces/{api.namespace}/serviceaccounts/{name}") is None:
        action = "Set platform.serviceAccount.create: true, or create it."
        yield fail("service account", f"there is no service account {name} in {api.namespace}", action)
    else:
        yield ok("service account", name)


def _classes(api: KubernetesApi, specs: list[Object]) -> Iterator[Check]:
    paths = {
        "priorityClassName": ("priority class", "/apis/scheduling.k8s.io/v1/priorityclasses"),
        "runtimeClassName": ("runtime class", "/apis/node.k8s.io/v1/runtimeclasses"),
    }
    for key, (what, path) in paths.items():
        for name in sorted({spec[key] for spec in specs if spec.get(key)}):
            if looked_up(api, f"{path}/{name}") is None:
                yield fail(what, f"there is no {what} {name}", "Create it, or correct the values.")
            else:
                yield ok(what, name)


def _image(api: KubernetesApi, spec: Object) -> Iterator[Check]:
    """Whether nodes have the image or can probably pull it. A kubelet lists up to 50 of its images."""
    container = spec["containers"][0]
    image, policy = container["image"], container.get("imagePullPolicy", "IfNotPresent")
    nodes = api.list("/api/v1/nodes")
    holders = sum(image in _names(node) for node in nodes)
    said = f"{image}, on {holders} of {len(nodes)} nodes already"
    if policy == "Never":
        if holders == len(nodes):
            yield ok("image", said)
        else:
            yield warn(
                "image", f"{said}, and pullPolicy is Never", "Load it onto every node that may run a pod."
            )
    elif "/" not in image and holders < len(nodes):
        action = "Set platform.image.repository to the registry it was pushed to; a bare name refers to Docker Hub."
        yield warn("image", f"{said}, and its name has no registry", action)
    else:
        yield ok("image", f"{said}; others pull it ({policy})")


def _names(node: Object) -> set[str]:
    images = (node.get("status") or {}).get("images") or []
    names = {name for each in images for name in each.get("names") or []}
    return names | {name.removeprefix("docker.io/library/") for name in names}
