# SPDX-License-Identifier: Apache-2.0
"""Elastic: decides how many workers an elastic run has, from the nodes that exist at that moment.

Ray has no public place for a scaling policy; this is that of ray/train/v2/_internal/execution/scaling_policy at 2.60.0.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any, Protocol

import ray
from ray.exceptions import RayError
from ray.train.v2._internal.execution.scaling_policy import (
    ElasticScalingPolicy,
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
)
from ray.train.v2._internal.execution.scaling_policy.autoscaling_coordinator_client import (
    AUTOSCALING_REQUESTS_GET_TIMEOUT_S,
)

from tadrib.ray_jobs.compat.ray_placement import by_node


class Saving(Protocol):
    """Makes the workers save a checkpoint: requested once, then polled."""

    def request_save(self) -> None: ...

    @property
    def has_saved(self) -> bool: ...


class Elastic(ElasticScalingPolicy):
    """Counts nodes anew each time, and makes workers save a checkpoint before they are replaced.

    Ray's own goes by the nodes of up to 20 seconds ago, and loses the steps since the last checkpoint. It is told of
    bundles of ``together`` workers as if each were one, so that it asks an autoscaler for whole nodes and counts them;
    what it decides is put in workers again.
    """

    def __init__(self, scaling_config: Any, mailbox: Saving, together: int) -> None:
        least, most = scaling_config.num_workers
        bundle = by_node(scaling_config.resources_per_worker, together)
        count = (least // together, most // together)
        super().__init__(dataclasses.replace(scaling_config, num_workers=count, resources_per_worker=bundle))
        self._resources_per_worker = scaling_config.resources_per_worker
        self._together = together
        self._mailbox = mailbox
        self._wanted: ResizeDecision | None = None
        self._nodes: Any = None
        self._counted_at = float("-inf")

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        self._wanted = None
        return super().make_decision_for_non_running_worker_group()

    def make_decision_for_running_worker_group(
        self, worker_group_state: Any, worker_group_status: Any
    ) -> ScalingDecision:
        if self._wanted is None:
            nodes = dataclasses.replace(
                worker_group_state, workers=worker_group_state.workers[:: self._together]
            )
            decision = super().make_decision_for_running_worker_group(nodes, worker_group_status)
            if isinstance(decision, ResizeDecision):
                self._wanted = decision
                self._mailbox.request_save()
        elif self._mailbox.has_saved:
            wanted, self._wanted = self._wanted, None
            return wanted
        return NoopDecision()

    def _get_resize_decision(self, num_workers: int) -> ResizeDecision:
        return ResizeDecision(
            num_workers=num_workers * self._together, resources_per_worker=self._resources_per_worker
        )

    def _get_reserved_resources(self) -> Any:
        """Resources by node; None if unknown. Cached: without workers, Ray calls this in a busy loop."""
        now = time.monotonic()
        if now - self._counted_at >= self.GET_RESERVED_RESOURCES_INTERVAL_S:
            self._counted_at, self._nodes = now, None
            coordinator: Any = self._autoscaling_coordinator
            with contextlib.suppress(RayError):
                answer = coordinator.get_reserved_resources.remote(self._requester_id, recompute=True)
                self._nodes = ray.get(answer, timeout=AUTOSCALING_REQUESTS_GET_TIMEOUT_S)
        return self._nodes
