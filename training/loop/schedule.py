# SPDX-License-Identifier: Apache-2.0
"""The schedule of a run: every step learns, and none comes after the last."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from tadrib.training.compat.transformers import Steps


class KeepsSchedule(Steps):
    """Stands among the first bases of a trainer that keeps to its schedule."""

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """As transformers', but step s of w warm-up steps has s / w of the highest learning rate, counted from 1.

        Transformers counts from 0, so that the first step changes nothing, and is the only one of a run of one step.
        """
        is_new = vars(self).get("lr_scheduler") is None
        schedule = super().create_scheduler(num_training_steps, optimizer)
        warmup = self.args.get_warmup_steps(num_training_steps)
        if is_new and warmup and isinstance(schedule, LambdaLR):
            shares: list[Callable[[int], float]] = [
                partial(_warmed, share=share, warmup=warmup) for share in schedule.lr_lambdas
            ]
            schedule = self.lr_scheduler = LambdaLR(schedule.optimizer, shares)
        return schedule

    def run_epoch(self, **kwargs: Any) -> None:
        """As transformers', which would do one step more after a checkpoint of the last step within an epoch."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super().run_epoch(**kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "train_loss" in logs and not self.has_stepped:
            del logs["train_loss"]  # the mean over no step, which transformers says is 0
        super().log(logs, start_time)


def _warmed(step: int, *, share: Callable[[int], float], warmup: int) -> float:
    """The share of the highest learning rate in ``step``, counted from 0; a constant schedule has no warm-up."""
    return max(share(step), (step + 1) / warmup) if step < warmup else share(step)
