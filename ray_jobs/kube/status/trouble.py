# SPDX-License-Identifier: Apache-2.0
"""Trouble: what is wrong with a pod, and the pod's name in messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

FATAL, BLOCKED, UNPLACED, STARTS = range(4)
"""Ranks: a container ended, it cannot start, the pod has no node, or it is starting."""
LABEL = "tadrib/workers"
"""Of worker pods, where the spec or the platform chose how many workers a pod has."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with one or several pods. ``rank`` sorts causes before their consequences."""

    rank: int
    text: str
    action: str = ""
    since: str | None = None

    @property
    def is_fatal(self) -> bool:
        """Whether a container ended, or its pod was removed."""
        return self.rank == FATAL


def is_head(pod: Object) -> bool:
    return (pod["metadata"].get("labels") or {}).get("ray.io/node-type") == "head"


def is_worker(pod: Object) -> bool:
    return (pod["metadata"].get("labels") or {}).get("ray.io/node-type") == "worker"


def workers_in(pod: Object) -> int:
    """Workers that a worker pod, or its template, has room for."""
    return int((pod["metadata"].get("labels") or {}).get(LABEL, 1))


def who(pod: Object) -> str:
    """The pod's name in messages: ``the head``, ``worker NAME`` or ``pod NAME``."""
    if is_head(pod):
        return "the head"
    return f"worker {pod['metadata']['name']}" if is_worker(pod) else f"pod {pod['metadata']['name']}"


def clean(message: str) -> str:
    """A message as one line of at most 300 characters."""
    return re.sub(r"\s+", " ", message).strip().rstrip(".")[:300]
