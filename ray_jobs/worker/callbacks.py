# SPDX-License-Identifier: Apache-2.0
"""Trainer callbacks of a worker: report progress to the driver, and stop all workers after the same step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tadrib.ray_jobs.compat.ray_preemption import default_grace_seconds, preemption_notice
from tadrib.ray_jobs.events import Metrics, Note, ReadyToResize, Step
from tadrib.ray_jobs.worker.link import Link

_SECONDS_BETWEEN_STEP_EVENTS = 0.5  # steps may take milliseconds; the display shows two a second
_SECONDS_FOR_RAY = 30.0  # after a node's deadline; by then Ray has ended the remaining workers


class Reporter(TrainerCallback):
    """Posts steps and logged metrics; only rank 0 has one."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._start = 0
        self._began = self._posted_at = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._start, self._began = state.global_step, time.monotonic()
        self._post(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if time.monotonic() - self._posted_at >= _SECONDS_BETWEEN_STEP_EVENTS:
            self._posted_at = time.monotonic()
            self._post(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._post(state)

    def _post(self, state: TrainerState) -> None:
        seconds = time.monotonic() - self._began
        self._link.post(Step(state.global_step, state.max_steps, self._start, seconds))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        # also in the history: the next attempt restores from it the rows that never reached the driver
        state.log_history[-1]["time"] = now = round(time.time(), 3)
        self._link.post(Metrics({"step": state.global_step, "time": now, **(logs or {})}))


class StopTogether(TrainerCallback):
    """Saves a checkpoint after the step in which one was requested, and ends training if the user asked to stop.

    Only rank 0 receives the driver's requests (``link``; None elsewhere), and each rank the preemption notice of its
    own node. So in every step the ranks combine their requests in an all-reduce (MAX) of three flags, which overlaps
    with the optimizer's step. It uses gloo on GPUs too, to keep out of their streams. After a preemption notice, or a
    save before a resize, training continues until Ray restarts the workers: returning would end the run. ``commit``
    blocks until the checkpoint is committed.
    """

    def __init__(self, link: Link | None, commit: Callable[[], None]) -> None:
        self.stopped = False
        self._link = link
        self._commit = commit
        self._notice: object = None
        # what the previous step has seen: a notice and an order are followed once
        self._save_requested = self._resizing = False
        # three flags: stop, save because a node is preempted, save because the number of workers changes
        self._requests = torch.zeros(3, dtype=torch.int32)
        self._reducing: dist.Work | None = None
        self._group = None
        if dist.is_initialized() and dist.get_world_size() > 1:
            self._group = dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        notice = preemption_notice()
        preempted = notice is not None and notice != self._notice
        self._notice = notice
        stop = self._link is not None and self._link.stop_requested
        save = self._link is not None and self._link.save_requested
        # an order to save stands until the driver knows that it was followed: only its first step counts
        resize, self._save_requested = save and not self._save_requested, save
        self._requests = torch.tensor([stop, preempted, resize], dtype=torch.int32)
        if self._group is not None:
            self._reducing = dist.all_reduce(
                self._requests, op=dist.ReduceOp.MAX, group=self._group, async_op=True
            )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._reducing is not None:
            self._reducing.wait()
        stop, preempted, self._resizing = self._requests.tolist()
        if preempted:
            control.should_save = True
            if self._link is not None:
                step = state.global_step
                self._link.post(
                    Note(f"a node is about to be preempted; a checkpoint is saved at step {step}")
                )
        if self._resizing:
            control.should_save = True
        # after the last step the run has finished, and is not stopped
        if stop and state.global_step < state.max_steps:
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not self._resizing:
            return
        # the next workers start as soon as the driver hears of it, so the checkpoint must be complete by then
        self._commit()
        if self._link is not None:
            self._link.post(ReadyToResize())


def wait_out_preemption() -> None:
    """After a preemption notice, block until Ray has seen the loss of the node.

    The remaining workers fail a moment earlier, when they lose their connection to the preempted one. Reported first,
    that failure would count against the run's ``max_failures``; a preemption does not.
    """
    notice = preemption_notice()
    if notice is None:
        return
    left = notice.deadline_ms / 1000 - time.time() if notice.deadline_ms else default_grace_seconds()
    time.sleep(max(0.0, left) + _SECONDS_FOR_RAY)
