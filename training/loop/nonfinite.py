# SPDX-License-Identifier: Apache-2.0
"""What happens when a loss or gradient is NaN or infinite: the run stops, or the step is skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tadrib.training.engine.batch import PackedBatch
from tadrib.training.errors import Problem, TrainingError
from tadrib.training.notices import warn

_SHOWN_ROWS = 20


class NonfiniteGuard(TrainerCallback):
    """Checks each step after the gradient all-reduce and before the optimizer, so that no weight and no checkpoint ever
    holds a NaN. All workers reach the same decision.

    ``policy`` is ``stop`` or ``skip``; after ``max_skipped`` skipped steps the run stops too. ``check_gradients`` is
    False where gradients are out of reach (DeepSpeed holds them) or overflow is handled elsewhere (float16 loss
    scaling): then only losses are checked. ``on_begin`` is called when a step begins and ``on_skip`` when it is
    skipped, so that its contribution to running totals can be rolled back.
    """

    on_begin: Callable[[], None] = staticmethod(lambda: None)
    on_skip: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, policy: str, max_skipped: int, check_gradients: bool = True) -> None:
        self.skipped = 0
        self._policy, self._max_skipped, self._check_gradients = policy, max_skipped, check_gradients
        self._seen: list[tuple[Tensor, list[int]]] = []

    def record(self, loss: Tensor, batch: PackedBatch) -> None:
        """Note the loss and rows of a micro-batch of this step."""
        self._seen.append((loss.detach(), batch.rows if batch.weight else []))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._seen = []
        self.on_begin()

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: nn.Module,
        **kwargs: Any,
    ) -> None:
        if not self._is_bad(model):
            return
        rows = self._rows()
        step = state.global_step + 1
        if self._policy == "skip" and self.skipped < self._max_skipped:
            self.skipped += 1
            warn(
                f"step {step} is skipped: its loss or gradient is not finite; it contains rows {rows} of the training"
                " data (counted from 1). Check them, or lower learning_rate."
            )
            model.zero_grad()  # optimizers ignore weights without a gradient, so the step changes nothing
            self.on_skip()
            return
        raise TrainingError("the loss or a gradient is NaN or infinite", [self._problem(step, rows)])

    def _is_bad(self, model: nn.Module) -> bool:
        values = [loss.reshape(1).float() for loss, _ in self._seen]
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if self._check_gradients and gradients:
            values.append(torch.nn.utils.get_total_norm(gradients).reshape(1).float())
        # one all-reduce of one number, after which all workers skip or stop together
        bad = (~torch.isfinite(torch.cat(values)).all()).to(torch.int32)
        if dist.is_initialized():
            dist.all_reduce(bad, op=dist.ReduceOp.MAX)
        return bool(bad.item())

    def _rows(self) -> str:
        """Rows of all workers' micro-batches whose loss is not finite; if only a gradient is, all rows of the step."""
        own = {
            "bad": [row for loss, rows in self._seen if not torch.isfinite(loss).all() for row in rows],
            "all": [row for _, rows in self._seen for row in rows],
        }
        found = [own]
        if dist.is_initialized():
            found = [{} for _ in range(dist.get_world_size())]
            dist.all_gather_object(found, own)
        for kind in ("bad", "all"):
            rows = sorted({row + 1 for each in found for row in each[kind]})
            if rows:
                break
        more = f" and {len(rows) - _SHOWN_ROWS} more" if len(rows) > _SHOWN_ROWS else ""
        return ", ".join(str(row) for row in rows[:_SHOWN_ROWS]) + more

    def _problem(self, step: int, rows: str) -> Problem:
        skipped = f", after {self.skipped} skipped steps" if self.skipped else ""
        return Problem(
            f"step {step}",
            f"contains rows {rows} of the training data (counted from 1){skipped}.",
            "Check these rows; lower learning_rate or max_grad_norm; or set on_nonfinite: skip to skip such steps. "
            "The last checkpoint is not affected.",
        )
