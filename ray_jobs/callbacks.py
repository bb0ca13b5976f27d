# SPDX-License-Identifier: Apache-2.0
"""Trainer callbacks of a worker: progress to the driver, and a stop at the same step for all workers."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from ray_jobs.events import Metrics, Step
from ray_jobs.mailbox import Link

_SECONDS_BETWEEN_STEP_EVENTS = 0.25


class Reporter(TrainerCallback):
    """Posts steps and logged metrics; only rank 0 has one."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._start = 0
        self._posted_at = 0.0

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self._start = state.global_step
        self._link.post(Step(state.global_step, state.max_steps, self._start))

    def on_step_end(self, args, state, control, **kwargs) -> None:
        now = time.monotonic()
        if now - self._posted_at >= _SECONDS_BETWEEN_STEP_EVENTS:
            self._posted_at = now
            self._link.post(Step(state.global_step, state.max_steps, self._start))

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self._link.post(Step(state.global_step, state.max_steps, self._start))

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        self._link.post(Metrics({"step": state.global_step, "time": round(time.time(), 3), **(logs or {})}))


class StopTogether(TrainerCallback):
    """Saves a checkpoint and ends training after the step in which the user asked for it.

    Only rank 0 hears of the request (``link``; None elsewhere), so after each step the ranks agree on it in
    an all-reduce of one number. It runs over gloo also on GPUs, whose queues it then leaves alone.
    """

    def __init__(self, link: Link | None) -> None:
        self.stopped = False
        self._link = link
        self._group = None
        if dist.is_initialized() and dist.get_world_size() > 1:
            self._group = dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self._agree() and state.global_step < state.max_steps:
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True

    def _agree(self) -> bool:
        asked = torch.tensor([self._link is not None and self._link.stop_requested], dtype=torch.int32)
        if self._group is not None:
            dist.all_reduce(asked, op=dist.ReduceOp.MAX, group=self._group)
        return bool(asked.item())
