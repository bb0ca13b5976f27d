# SPDX-License-Identifier: Apache-2.0
"""The schedule of a run: no step has a learning rate of 0, and none is taken after the last."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from tadrib.training.compat.transformers import Steps


class ScheduleMixin(Steps):
    """Mixin for a trainer with this schedule; it has to precede `Trainer` among the bases."""

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """Like transformers', but step s of w warm-up steps, counted from 1, uses s / w of the peak learning rate.

        transformers counts from 0: its first step has a learning rate of 0, and in a one-step run that is all of them.
        """
        # Trainer calls this again on resume, and would wrap our schedule a second time
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
        """Like transformers', which would take an extra step when resuming from the last step of a run."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super().run_epoch(**kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "train_loss" in logs and not self.has_stepped:
            del logs["train_loss"]  # the mean over no steps, which transformers reports as 0
        super().log(logs, start_time)


def _warmed(step: int, *, share: Callable[[int], float], warmup: int) -> float:
    """The share of the peak learning rate at ``step``, counted from 0."""
    # max: a constant schedule has no warm-up, and its share of 1 must not be lowered
    return max(share(step), (step + 1) / warmup) if step < warmup else share(step)
