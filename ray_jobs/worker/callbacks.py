# SPDX-License-Identifier: Apache-2.0
"""Trainer callbacks of a worker: progress to the driver, and a stop at the same step for all workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tadrib.ray_jobs.compat.ray_preemption import announced_loss, seconds_of_grace
from tadrib.ray_jobs.events import Metrics, Note, ReadyToResize, Step
from tadrib.ray_jobs.worker.link import Link

_SECONDS_BETWEEN_STEP_EVENTS = 0.5
_SECONDS_FOR_RAY = 30.0  # after a node's deadline, in which Ray ends the workers that are left


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
        # in the history as well, from which rows come back that were lost on their way to the driver
        state.log_history[-1]["time"] = now = round(time.time(), 3)
        self._link.post(Metrics({"step": state.global_step, "time": now, **(logs or {})}))


class StopTogether(TrainerCallback):
    """Saves a checkpoint after the step in which something asked for it, and ends training if that was the user.

    Rank 0 alone hears of the driver's requests (``link``; None elsewhere), and any rank of the loss of its node that
    Ray has announced. So in each step the ranks agree in an all-reduce of three numbers, beside the optimizer's step.
    It runs over gloo also on GPUs, whose queues it then leaves alone. After an announced loss, or a save for other
    workers, training goes on, as Ray asks: it restarts the run in its time, and returning would end it. ``commit``
    waits until what was saved is committed.
    """

    def __init__(self, link: Link | None, commit: Callable[[], None]) -> None:
        self.stopped = False
        self._link = link
        self._commit = commit
        self._announced: object = None
        self._heard_of_save = self._making_room = False
        # to stop, to save as a node is leaving, to save as other workers are to come
        self._asked = torch.zeros(3, dtype=torch.int32)
        self._agreeing: dist.Work | None = None
        self._group = None
        if dist.is_initialized() and dist.get_world_size() > 1:
            self._group = dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        announced = announced_loss()
        news = announced is not None and announced != self._announced
        self._announced = announced
        stop = self._link is not None and self._link.stop_requested
        save = self._link is not None and self._link.save_requested
        room, self._heard_of_save = save and not self._heard_of_save, save
        self._asked = torch.tensor([stop, news, room], dtype=torch.int32)
        if self._group is not None:
            self._agreeing = dist.all_reduce(
                self._asked, op=dist.ReduceOp.MAX, group=self._group, async_op=True
            )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._agreeing is not None:
            self._agreeing.wait()
        stop, leaving, self._making_room = self._asked.tolist()
        if leaving:
            control.should_save = True
            if self._link is not None:
                step = state.global_step
                self._link.post(Note(f"a node is about to go; what is learnt is saved at step {step}"))
        if self._making_room:
            control.should_save = True
        if stop and state.global_step < state.max_steps:
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not self._making_room:
            return
        self._commit()
        if self._link is not None:
            self._link.post(ReadyToResize())


def outlast_announced_loss() -> None:
    """Wait until Ray has taken the loss of a node for what it is, if it has announced one.

    The workers that stay fail a moment before that, being cut off from the one that goes. Ray, told so first, would
    count it as a failure of the run.
    """
    announced = announced_loss()
    if announced is None:
        return
    left = announced.deadline_ms / 1000 - time.time() if announced.deadline_ms else seconds_of_grace()
    time.sleep(max(0.0, left) + _SECONDS_FOR_RAY)
