# SPDX-License-Identifier: Apache-2.0
"""Pods: what keeps those of a run from running, or ended them, as one sentence and the next action.

Source of the reasons: kubernetes v1.34, pkg/kubelet/images/types.go, pkg/kubelet/kuberuntime, pkg/kubelet/events.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ray_jobs.kube.scheduling import no_node, requests_of

Object = dict[str, Any]

_IMAGE = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
_STARTING = {"ContainerCreating", "PodInitializing", ""}
_FATAL, _BLOCKED, _UNPLACED, _STARTS = range(4)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with one pod or several: ``rank`` orders causes before their consequences."""

    rank: int
    text: str
    action: str = ""
    since: str | None = None

    @property
    def is_fatal(self) -> bool:
        """Whether a container ended, or its pod was taken away."""
        return self.rank == _FATAL


def is_head(pod: Object) -> bool:
    return (pod["metadata"].get("labels") or {}).get("ray.io/node-type") == "head"


def is_worker(pod: Object) -> bool:
    return (pod["metadata"].get("labels") or {}).get("ray.io/node-type") == "worker"


def is_ready(pod: Object) -> bool:
    conditions = _status(pod).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def is_leaving(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def worst(pods: Iterable[Object], events: Iterable[Object]) -> Trouble | None:
    """The cause to tell first; of equal ones, that of the head, which everything waits for."""
    told = list(events)
    ordered = sorted(pods, key=lambda pod: (not is_head(pod), pod["metadata"]["name"]))
    troubles = [trouble for pod in ordered if (trouble := trouble_of(pod, told)) is not None]
    return min(troubles, key=lambda trouble: trouble.rank, default=None)


def trouble_of(pod: Object, events: Iterable[Object] = ()) -> Trouble | None:
    """Why this pod does not run as it should; None where it does, has succeeded, or is being deleted."""
    if is_leaving(pod) or is_ready(pod) or _status(pod).get("phase") == "Succeeded":
        return None
    if taken := _taken_away(pod):
        return taken
    for state in _states(pod):
        if trouble := _of_container(pod, *state):
            return trouble
    return _unplaced(pod) or _mounting(pod, events) or _starting(pod)


def ended_by(pod: Object) -> Trouble | None:
    """What killed a container of the pod, now or before its restart; None where nothing did."""
    if taken := _taken_away(pod):
        return taken
    for status, _ in _states(pod):
        for state in (status.get("state") or {}, status.get("lastState") or {}):
            if trouble := _terminated(pod, status, state.get("terminated")):
                return trouble
    return None


def who(pod: Object) -> str:
    """How a person calls the pod."""
    if is_head(pod):
        return "the head"
    return f"worker {pod['metadata']['name']}" if is_worker(pod) else f"pod {pod['metadata']['name']}"


def _status(pod: Object) -> Object:
    return pod.get("status") or {}


def _states(pod: Object) -> Iterator[tuple[Object, bool]]:
    """Status of each container, and whether it is one that runs before the others."""
    yield from ((status, True) for status in _status(pod).get("initContainerStatuses") or [])
    yield from ((status, False) for status in _status(pod).get("containerStatuses") or [])


def _taken_away(pod: Object) -> Trouble | None:
    status = _status(pod)
    if status.get("phase") == "Failed" and status.get("reason") and not status.get("containerStatuses"):
        said = _clean(status.get("message") or "")
        return Trouble(_FATAL, f"{who(pod)} was taken off its node ({status['reason']}): {said}")
    if status.get("reason") == "Evicted":
        action = "Raise platform.scratch.size or memory, or find what fills the node."
        return Trouble(_FATAL, f"{who(pod)} was evicted: {_clean(status.get('message') or '')}", action)
    for condition in status.get("conditions") or []:
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            said = _clean(condition.get("message") or condition.get("reason") or "")
            return Trouble(_FATAL, f"{who(pod)} was taken off its node: {said}")
    return None


def _of_container(pod: Object, status: Object, is_init: bool) -> Trouble | None:
    state = status.get("state") or {}
    waiting = state.get("waiting")
    if waiting is None:
        return _terminated(pod, status, state.get("terminated"))
    reason, message = waiting.get("reason") or "", _clean(waiting.get("message") or "")
    if reason in _IMAGE:
        return _image(status.get("image") or "", reason, message)
    if reason == "CreateContainerConfigError":
        return Trouble(_BLOCKED, f"a container cannot be configured: {message}", _config_action(message))
    if reason in ("CreateContainerError", "RunContainerError", "PostStartHookError"):
        return Trouble(_BLOCKED, f"a container cannot be started: {message}")
    last = (status.get("lastState") or {}).get("terminated")
    if reason == "CrashLoopBackOff":
        again = _terminated(pod, status, last)
        times = status.get("restartCount", 0)
        text = again.text if again else f"{who(pod)} ends at once"
        return Trouble(_FATAL, f"{text}, and was started {times + 1} times", again.action if again else "")
    return None


def _terminated(pod: Object, status: Object, terminated: Object | None) -> Trouble | None:
    if not terminated or not terminated.get("exitCode"):
        return None
    code, reason = terminated["exitCode"], terminated.get("reason") or ""
    if reason == "OOMKilled":
        limit = _memory_limit(pod, status.get("name", ""))
        role = "platform.head.memory" if is_head(pod) else "resources.memory_per_worker of the spec"
        return Trouble(_FATAL, f"{who(pod)} ran out of memory{limit}", f"Raise {role}.")
    if reason in ("StartError", "ContainerCannotRun"):
        return Trouble(_FATAL, f"{who(pod)} cannot be started: {_clean(terminated.get('message') or '')}")
    said = f" ({reason})" if reason not in ("", "Error") else ""
    return Trouble(_FATAL, f"{who(pod)} ended with exit code {code}{said}")


def _memory_limit(pod: Object, container: str) -> str:
    for each in pod["spec"].get("containers") or []:
        if each["name"] == container:
            limit = ((each.get("resources") or {}).get("limits") or {}).get("memory")
            return f" (limit {limit})" if limit else ""
    return ""


def _image(image: str, reason: str, message: str) -> Trouble:
    said = message.lower()
    name = f"the image {image}"
    if reason == "ErrImageNeverPull":
        action = "Load it onto every node, or set platform.image.pullPolicy: IfNotPresent."
        return Trouble(_BLOCKED, f"{name} is not on the node, and pullPolicy is Never", action)
    if reason == "InvalidImageName":
        return Trouble(_BLOCKED, f"{name} is not a name of an image", "Correct platform.image.")
    if any(
        word in said
        for word in ("unauthorized", "denied", "forbidden", "authentication required", "no basic auth")
    ):
        action = "Name a Secret with a login in platform.image.pullSecrets, and check that the image exists."
        return Trouble(_BLOCKED, f"{name} cannot be pulled: its registry refuses", action)
    if "not found" in said or "manifest unknown" in said or "does not exist" in said:
        return Trouble(
            _BLOCKED, f"{name} does not exist", "Correct platform.image.repository and tag, or push it."
        )
    if any(
        word in said for word in ("no such host", "timeout", "connection refused", "unreachable", "deadline")
    ):
        return Trouble(
            _BLOCKED, f"{name} cannot be pulled: its registry is out of reach", "Check the nodes' network."
        )
    if "no space left" in said:
        return Trouble(
            _BLOCKED, f"{name} cannot be pulled: the node's disk is full", "Free disk on the node."
        )
    cause = message.rpartition("desc = ")[2] or reason
    return Trouble(_BLOCKED, f"{name} cannot be pulled: {cause}", "Check platform.image.")


def _config_action(message: str) -> str:
    if "secret" in message.lower():
        return "Make the Secret, or correct platform.secrets."
    if "configmap" in message.lower():
        return "The ConfigMap belongs to the release: install it again."
    return "The image needs a numeric user: see platform.security." if "runAsNonRoot" in message else ""


def _unplaced(pod: Object) -> Trouble | None:
    for condition in _status(pod).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            began = condition.get("lastTransitionTime")
            if condition.get("reason") == "SchedulingGated":
                return Trouble(_UNPLACED, f"{who(pod)} is held back by a scheduling gate", since=began)
            text = no_node(condition.get("message") or "", requests_of(pod["spec"]))
            return Trouble(_UNPLACED, text, _placement_action(text), began)
    if _status(pod).get("phase", "Pending") == "Pending" and not pod["spec"].get("nodeName"):
        began = pod["metadata"].get("creationTimestamp")
        name = pod["spec"].get("schedulerName", "default-scheduler")
        return Trouble(_UNPLACED, f"the scheduler {name} has not taken up {who(pod)}", since=began)
    return None


def _placement_action(text: str) -> str:
    if "persistentvolumeclaim" in text.lower():
        return "Check platform.storage.claim, and that the claim is bound."
    if "taint" in text or "nodeSelector" in text:
        return "Check tolerations and nodeSelector under platform.gpu, platform.workers and platform.head."
    return "It starts when a node has room; `tadrib doctor SPEC` says whether any ever can."


def _mounting(pod: Object, events: Iterable[Object]) -> Trouble | None:
    name = pod["metadata"]["name"]
    for event in events:
        about = (event.get("involvedObject") or {}).get("name")
        if about != name or event.get("type") != "Warning":
            continue
        said = _clean(event.get("message") or "")
        if event.get("reason") in ("FailedMount", "FailedAttachVolume", "FailedMapVolume"):
            return Trouble(
                _BLOCKED, f"a volume of {who(pod)} cannot be mounted: {said}", "Check platform.storage.claim."
            )
        if event.get("reason") in ("FailedCreatePodSandBox", "FailedPrepareDynamicResources"):
            return Trouble(_BLOCKED, f"the node cannot start {who(pod)}: {said}")
    return None


def _starting(pod: Object) -> Trouble:
    waiting = {
        ((status.get("state") or {}).get("waiting") or {}).get("reason", "") for status, _ in _states(pod)
    }
    began = pod["metadata"].get("creationTimestamp")
    if is_worker(pod) and any(
        is_init and "running" in (status.get("state") or {}) for status, is_init in _states(pod)
    ):
        return Trouble(_STARTS + 1, f"{who(pod)} waits for the head", since=began)
    node = pod["spec"].get("nodeName")
    if waiting and waiting <= _STARTING and "running" not in str(_status(pod).get("containerStatuses")):
        return Trouble(
            _STARTS, f"{who(pod)} is being started on node {node}; its image may still be pulled", since=began
        )
    return Trouble(_STARTS, f"{who(pod)} runs and is not ready yet", since=began)


def _clean(message: str) -> str:
    """One line, without the addresses that change with each event."""
    return re.sub(r"\s+", " ", message).strip().rstrip(".")[:300]
