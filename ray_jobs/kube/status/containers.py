# SPDX-License-Identifier: Apache-2.0
"""Containers: why a container does not start, or how it ended, from the status that the kubelet reports."""

from __future__ import annotations

from typing import Any

from tadrib.ray_jobs.kube.status.trouble import BLOCKED, FATAL, Trouble, clean, is_head, who

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


def of_container(pod: Object, status: Object, is_init: bool) -> Trouble | None:
    state = status.get("state") or {}
    waiting = state.get("waiting")
    if waiting is None:
        return terminated_by(pod, status, state.get("terminated"))
    reason, message = waiting.get("reason") or "", clean(waiting.get("message") or "")
    if reason in _IMAGE:
        return _image(status.get("image") or "", reason, message)
    if reason == "CreateContainerConfigError":
        return Trouble(BLOCKED, f"a container cannot be configured: {message}", _config_action(message))
    if reason in ("CreateContainerError", "RunContainerError", "PostStartHookError"):
        return Trouble(BLOCKED, f"a container cannot be started: {message}")
    last = (status.get("lastState") or {}).get("terminated")
    if reason == "CrashLoopBackOff":
        again = terminated_by(pod, status, last)
        times = status.get("restartCount", 0)
        text = again.text if again else f"{who(pod)} ends immediately"
        return Trouble(FATAL, f"{text}, and was started {times + 1} times", again.action if again else "")
    return None


def terminated_by(pod: Object, status: Object, terminated: Object | None) -> Trouble | None:
    if not terminated or not terminated.get("exitCode"):
        return None
    code, reason = terminated["exitCode"], terminated.get("reason") or ""
    if reason == "OOMKilled":
        limit = _memory_limit(pod, status.get("name", ""))
        role = "platform.head.memory" if is_head(pod) else "resources.memory_per_worker of the spec"
        return Trouble(FATAL, f"{who(pod)} ran out of memory{limit}", f"Raise {role}.")
    if reason in ("StartError", "ContainerCannotRun"):
        return Trouble(FATAL, f"{who(pod)} cannot be started: {clean(terminated.get('message') or '')}")
    said = f" ({reason})" if reason not in ("", "Error") else ""
    return Trouble(FATAL, f"{who(pod)} ended with exit code {code}{said}")


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
        return Trouble(BLOCKED, f"{name} is not on the node, and pullPolicy is Never", action)
    if reason == "InvalidImageName":
        return Trouble(BLOCKED, f"{name} is not a valid image name", "Correct platform.image.")
    if any(
        word in said
        for word in ("unauthorized", "denied", "forbidden", "authentication required", "no basic auth")
    ):
        action = "Add a Secret with a login to platform.image.pullSecrets, and check that the image exists."
        return Trouble(BLOCKED, f"{name} cannot be pulled: its registry denies access", action)
    if "not found" in said or "manifest unknown" in said or "does not exist" in said:
        return Trouble(
            BLOCKED, f"{name} does not exist", "Correct platform.image.repository and tag, or push it."
        )
    if any(
        word in said for word in ("no such host", "timeout", "connection refused", "unreachable", "deadline")
    ):
        return Trouble(
            BLOCKED, f"{name} cannot be pulled: its registry cannot be reached", "Check the nodes' network."
        )
    if "no space left" in said:
        return Trouble(
            BLOCKED, f"{name} cannot be pulled: the node's disk is full", "Free space on the node."
        )
    cause = message.rpartition("desc = ")[2] or reason
    return Trouble(BLOCKED, f"{name} cannot be pulled: {cause}", "Check platform.image.")


def _config_action(message: str) -> str:
    if "secret" in message.lower():
        return "Create the Secret, or correct platform.secrets."
    if "configmap" in message.lower():
        return "The ConfigMap is part of the release: install that again."
    return "The image needs a numeric user: see platform.security." if "runAsNonRoot" in message else ""
