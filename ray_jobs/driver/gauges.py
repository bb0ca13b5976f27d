# SPDX-License-Identifier: Apache-2.0
"""Gauges: a run's metrics for Prometheus, exported by Ray as ``ray_tadrib_*`` with labels ``run`` and ``method``."""

from __future__ import annotations

import math
import time

from ray.util.metrics import Counter, Gauge

from tadrib.ray_jobs.events import Metrics, Step
from tadrib.training.config import JobSpec

_OF_METRICS = {
    "loss": ("tadrib_loss", "Training loss of the last logged steps."),
    "tokens_per_second": ("tadrib_tokens_per_second", "Tokens trained on in a second, over all workers."),
    "rewards/margins": ("tadrib_reward_margin", "Reward of chosen answers over rejected ones."),
    "checkpoint_seconds": (
        "tadrib_checkpoint_stall_seconds",
        "Seconds that training has stood still for checkpoints.",
    ),
    "mfu": ("tadrib_mfu", "Share of the GPUs' peak that training uses; only for GPUs whose peak is known."),
}
_LABELS = ("run", "method")


class Gauges:
    """The gauges of one run, which the driver sets when it receives steps and metrics."""

    def __init__(self, spec: JobSpec) -> None:
        self._labels = {"run": spec.name, "method": spec.method}
        self._metrics = {
            key: Gauge(name, description, tag_keys=_LABELS)
            for key, (name, description) in _OF_METRICS.items()
        }
        self._step = Gauge("tadrib_step", "Optimizer steps done.", tag_keys=_LABELS)
        self._planned = Gauge("tadrib_steps_planned", "Optimizer steps of the whole run.", tag_keys=_LABELS)
        self._progress = Gauge("tadrib_progress", "Share of the steps done, 0 to 1.", tag_keys=_LABELS)
        self._last = Gauge(
            "tadrib_last_step_unixtime",
            "When the last step was seen, in seconds since the epoch.",
            tag_keys=_LABELS,
        )
        self._nonfinite = Counter(
            "tadrib_nonfinite_steps_total",
            "Steps left out because a loss or gradient was not finite.",
            tag_keys=_LABELS,
        )
        self._skipped = 0
        self._restarts = Counter(
            "tadrib_restarts_total", "Times the workers were started again.", tag_keys=_LABELS
        )

    def advance(self, step: Step) -> None:
        self._step.set(step.done, self._labels)
        self._planned.set(step.planned, self._labels)
        self._progress.set(step.done / max(1, step.planned), self._labels)
        self._last.set(time.time(), self._labels)

    def show(self, metrics: Metrics) -> None:
        for key, gauge in self._metrics.items():
            value = metrics.row.get(key)
            if value is not None and math.isfinite(value):
                gauge.set(value, self._labels)
        skipped = int(metrics.row.get("skipped_steps", 0))
        if skipped > self._skipped:  # a row has the total so far, a counter takes increments
            self._nonfinite.inc(skipped - self._skipped, self._labels)
            self._skipped = skipped

    def restarted(self) -> None:
        self._restarts.inc(1, self._labels)
