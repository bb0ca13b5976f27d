# SPDX-License-Identifier: Apache-2.0
"""What Ray has told a worker of nodes it is about to lose, as Ray 2.60.0 keeps it in the worker's process.

The public `ray.train.get_preemption_info` says the same, but waits for all workers through an actor, at every step:
https://docs.ray.io/en/releases-2.60.0/train/api/doc/ray.train.get_preemption_info.html
"""

from __future__ import annotations

from typing import Any, Protocol


class AnnouncedLoss(Protocol):
    """``deadline_ms``: when the node goes, in milliseconds since the epoch; None where Ray does not know."""

    deadline_ms: int | None


def announced_loss() -> AnnouncedLoss | None:
    """None while there is nothing, and under a Ray that keeps it elsewhere: the run then restarts from its last
    checkpoint when the node goes."""
    try:
        from ray.train.v2._internal.execution.context import get_train_context
    except ImportError:
        return None
    context: Any = getattr(get_train_context(), "preemption_context", None)
    return getattr(context, "preemption_info", None)


def seconds_of_grace() -> float:
    """How long Ray takes a node that is announced without a deadline to stay."""
    from ray.train.v2._internal.constants import DEFAULT_PREEMPTION_DEADLINE_S

    return float(DEFAULT_PREEMPTION_DEADLINE_S)
