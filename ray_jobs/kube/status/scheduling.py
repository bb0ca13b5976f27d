# SPDX-License-Identifier: Apache-2.0
"""Scheduling: translates the scheduler's message on a pod that fits no node.

Source of the messages: kubernetes v1.34, pkg/scheduler/framework/types.go (FitError) and the plugins of
pkg/scheduler/framework/plugins.
"""

from __future__ import annotations

import re
from typing import Any

from tadrib.ray_jobs.kube.status.units import quantity

Object = dict[str, Any]

_NODES = re.compile(r"^(\d+)/(\d+) nodes are available: (.*)$", re.DOTALL)
# what follows the reasons is about preemption and resource claims
_AFTER_REASONS = re.compile(r"\.(?:\s|$)")
_REASON = re.compile(r"^(\d+) (.*)$", re.DOTALL)
_WORDS = (
    (
        r"node\(s\) had untolerated taint\(?s?\)? ?(\{.*\})",
        "{n} ha{ve} a taint that the pod does not tolerate {0}",
    ),
    (r"node\(s\) had untolerated taint.*", "{n} ha{ve} taints that the pod does not tolerate"),
    (
        r"node\(s\) didn't match Pod's node affinity/selector",
        "{n} do{es} not match its nodeSelector or affinity",
    ),
    (r"node\(s\) didn't match pod (?:anti-)?affinity.*", "{n} do{es} not match its pod affinity"),
    (r"node\(s\) were unschedulable", "{n} {is} cordoned"),
    (r"node\(s\) had volume node affinity conflict", "{n} cannot reach its volume"),
    (r"node\(s\) didn't find available persistent volumes to bind", "{n} ha{ve} no volume to bind"),
    (
        r"node\(s\) didn't satisfy existing pods anti-affinity rules",
        "{n} {is} closed by other pods' anti-affinity",
    ),
    (r"node\(s\) were not ready", "{n} {is} not ready"),
    (r"node\(s\) had condition.*", "{n} {is} under pressure"),
    (r"Too many pods", "{n} ha{ve} the maximum number of pods"),
    (r"cannot allocate all claims", "{n} cannot satisfy its resource claims"),
)


def no_node(message: str, requests: Object) -> str:
    """The scheduler's message with the pod's requests inserted: ``0/3 nodes have 8 free nvidia.com/gpu``."""
    match = _NODES.match(message.strip())
    if match is None:
        return (
            message.partition(" preemption:")[0].strip().rstrip(".")
            or "the scheduler has not processed it yet"
        )
    free, total, rest = match.groups()
    rest = _AFTER_REASONS.split(rest)[0]
    reasons = [reason.strip() for reason in _split(rest)]
    counted = [_REASON.match(reason) for reason in reasons]
    lacking = [
        each[2].removeprefix("Insufficient ")
        for each in counted
        if each and each[2].startswith("Insufficient ")
    ]
    if len(reasons) == len(lacking) == 1 and counted[0] is not None and counted[0][1] == total:
        return f"{free}/{total} nodes have {amount(lacking[0], requests)}"
    return f"{free}/{total} nodes fit: " + ", ".join(_words(reason, requests) for reason in reasons)


def amount(resource: str, requests: Object) -> str:
    """``8 free nvidia.com/gpu`` or ``64Gi of free memory``."""
    asked = requests.get(resource)
    if resource in ("memory", "ephemeral-storage"):
        return f"{asked} of free {resource}" if asked is not None else f"enough free {resource}"
    return f"{asked} free {resource}" if asked is not None else f"enough free {resource}"


def requests_of(spec: Object) -> Object:
    """A pod's effective requests: the sum over its containers, or those of its largest init container if larger."""
    total: dict[str, str] = {}
    for container in spec.get("containers") or []:
        for name, asked in _requests(container).items():
            total[name] = str(asked) if name not in total else _plain(quantity(total[name]) + quantity(asked))
    for container in spec.get("initContainers") or []:
        for name, asked in _requests(container).items():
            if name not in total or quantity(asked) > quantity(total[name]):
                total[name] = str(asked)
    return total


def _requests(container: Object) -> Object:
    resources = container.get("resources") or {}
    return {**(resources.get("limits") or {}), **(resources.get("requests") or {})}


def _plain(number: Any) -> str:
    return f"{number.normalize():f}"


def _split(rest: str) -> list[str]:
    """Split the reasons at commas, except at commas within braces."""
    return re.split(r",\s(?![^{]*\})", rest.strip())


def _words(reason: str, requests: Object) -> str:
    match = _REASON.match(reason)
    if match is None:
        return reason
    count, said = match.groups()
    is_one = count == "1"
    if said.startswith("Insufficient "):
        return (
            f"{count} {'lacks' if is_one else 'lack'} {amount(said.removeprefix('Insufficient '), requests)}"
        )
    for pattern, text in _WORDS:
        if found := re.fullmatch(pattern, said):
            verbs = {
                "ve": "s" if is_one else "ve",
                "es": "es" if is_one else "",
                "is": "is" if is_one else "are",
            }
            return text.format(*found.groups(), n=count, **verbs)
    return reason
