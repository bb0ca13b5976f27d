# SPDX-License-Identifier: Apache-2.0
"""Pods: why pods do not run, or what ended them, as one sentence and the next action.

Source of the reasons: kubernetes v1.34, pkg/kubelet/images/types.go, pkg/kubelet/kuberuntime, pkg/kubelet/events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tadrib.ray_jobs.kube.status.containers import of_container, terminated_by
from tadrib.ray_jobs.kube.status.scheduling import no_node, requests_of
from tadrib.ray_jobs.kube.status.trouble import (
    BLOCKED,
    FATAL,
    STARTS,
    UNPLACED,
    Trouble,
    clean,
    is_head,
    is_worker,
    who,
)

Object = dict[str, Any]

_STARTING = {"ContainerCreating", "PodInitializing", ""}


def is_ready(pod: Object) -> bool:
    conditions = _status(pod).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def is_leaving(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def worst(pods: Iterable[Object], events: Iterable[Object]) -> Trouble | None:
    """The most important cause; of equal ones, the head's, which everything else waits for."""
    all_events = list(events)
    ordered = sorted(pods, key=lambda pod: (not is_head(pod), pod["metadata"]["name"]))
    troubles = [trouble for pod in ordered if (trouble := trouble_of(pod, all_events)) is not None]
    return min(troubles, key=lambda trouble: trouble.rank, default=None)


def trouble_of(pod: Object, events: Iterable[Object] = ()) -> Trouble | None:
    """Why this pod is not ready; None if it is, has succeeded, or is being deleted."""
    if is_leaving(pod) or is_ready(pod) or _status(pod).get("phase") == "Succeeded":
        return None
    if taken := _taken_away(pod):
        return taken
    for state in _states(pod):
        if trouble := of_container(pod, *state):
            return trouble
    return _unplaced(pod) or _mounting(pod, events) or _starting(pod)


def ended_by(pod: Object) -> Trouble | None:
    """What ended a container of the pod, now or before its restart; None if nothing did."""
    if taken := _taken_away(pod):
        return taken
    for status, _ in _states(pod):
        for state in (status.get("state") or {}, status.get("lastState") or {}):
            if trouble := terminated_by(pod, status, state.get("terminated")):
                return trouble
    return None


def _status(pod: Object) -> Object:
    return pod.get("status") or {}


def _states(pod: Object) -> Iterator[tuple[Object, bool]]:
    """The status of each container, and whether it is an init container."""
    yield from ((status, True) for status in _status(pod).get("initContainerStatuses") or [])
    yield from ((status, False) for status in _status(pod).get("containerStatuses") or [])


def _taken_away(pod: Object) -> Trouble | None:
    status = _status(pod)
    if status.get("phase") == "Failed" and status.get("reason") and not status.get("containerStatuses"):
        said = clean(status.get("message") or "")
        return Trouble(FATAL, f"{who(pod)} was removed from its node ({status['reason']}): {said}")
    if status.get("reason") == "Evicted":
        action = "Raise platform.scratch.size or memory, or find what fills the node."
        return Trouble(FATAL, f"{who(pod)} was evicted: {clean(status.get('message') or '')}", action)
    for condition in status.get("conditions") or []:
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            said = clean(condition.get("message") or condition.get("reason") or "")
            return Trouble(FATAL, f"{who(pod)} was removed from its node: {said}")
    return None


def _unplaced(pod: Object) -> Trouble | None:
    for condition in _status(pod).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            began = condition.get("lastTransitionTime")
            if condition.get("reason") == "SchedulingGated":
                return Trouble(UNPLACED, f"{who(pod)} is held back by a scheduling gate", since=began)
            text = no_node(condition.get("message") or "", requests_of(pod["spec"]))
            return Trouble(UNPLACED, text, _placement_action(text), began)
    if _status(pod).get("phase", "Pending") == "Pending" and not pod["spec"].get("nodeName"):
        began = pod["metadata"].get("creationTimestamp")
        name = pod["spec"].get("schedulerName", "default-scheduler")
        return Trouble(UNPLACED, f"the scheduler {name} has not processed {who(pod)} yet", since=began)
    return None


def _placement_action(text: str) -> str:
    if "persistentvolumeclaim" in text.lower():
        return "Check platform.storage.claim, and that the claim is bound."
    if "taint" in text or "nodeSelector" in text:
        return "Check tolerations and nodeSelector under platform.gpu, platform.workers and platform.head."
    return "It starts when a node has the capacity; `tadrib doctor SPEC` tells whether one ever can."


def _mounting(pod: Object, events: Iterable[Object]) -> Trouble | None:
    name = pod["metadata"]["name"]
    for event in events:
        about = (event.get("involvedObject") or {}).get("name")
        if about != name or event.get("type") != "Warning":
            continue
        said = clean(event.get("message") or "")
        if event.get("reason") in ("FailedMount", "FailedAttachVolume", "FailedMapVolume"):
            return Trouble(
                BLOCKED, f"a volume of {who(pod)} cannot be mounted: {said}", "Check platform.storage.claim."
            )
        if event.get("reason") in ("FailedCreatePodSandBox", "FailedPrepareDynamicResources"):
            return Trouble(BLOCKED, f"the node cannot start {who(pod)}: {said}")
    return None


def _starting(pod: Object) -> Trouble:
    waiting = {
        ((status.get("state") or {}).get("waiting") or {}).get("reason", "") for status, _ in _states(pod)
    }
    began = pod["metadata"].get("creationTimestamp")
    if is_worker(pod) and any(
        is_init and "running" in (status.get("state") or {}) for status, is_init in _states(pod)
    ):
        return Trouble(STARTS + 1, f"{who(pod)} waits for the head", since=began)
    node = pod["spec"].get("nodeName")
    if waiting and waiting <= _STARTING and "running" not in str(_status(pod).get("containerStatuses")):
        return Trouble(
            STARTS, f"{who(pod)} is being started on node {node}; its image may still be pulled", since=began
        )
    return Trouble(STARTS, f"{who(pod)} is running but not ready yet", since=began)
