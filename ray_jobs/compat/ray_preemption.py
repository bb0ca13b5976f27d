# SPDX-License-Identifier: Apache-2.0
"""Preemption notices that Ray has sent to a worker, as Ray 2.60.0 keeps them in the worker's process.

The public `ray.train.get_preemption_info` says the same, but waits for all workers through an actor, at every step:
https://docs.ray.io/en/releases-2.60.0/train/api/doc/ray.train.get_preemption_info.html
"""

from __future__ import annotations

from typing import Any, Protocol


class PreemptionNotice(Protocol):
    """``deadline_ms``: when the node is removed, in milliseconds since the epoch; None if Ray does not know."""

    deadline_ms: int | None


def preemption_notice() -> PreemptionNotice | None:
    """The current notice; None without one, and under a Ray that keeps it elsewhere. The run then restarts from its
    last checkpoint when the node is removed."""
    try:
        from ray.train.v2._internal.execution.context import get_train_context
    except ImportError:
        return None
    context: Any = getattr(get_train_context(), "preemption_context", None)
    return getattr(context, "preemption_info", None)


def default_grace_seconds() -> float:
    """Seconds for which Ray expects a node to stay whose notice has no deadline."""
    from ray.train.v2._internal.constants import DEFAULT_PREEMPTION_DEADLINE_S

    return float(DEFAULT_PREEMPTION_DEADLINE_S)
