# SPDX-License-Identifier: Apache-2.0
"""What happens when a loss or a gradient is NaN or infinite: the run stops, or the step is left out."""

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
    """Looks at each step between the exchange of gradients and the optimizer, so that no weight and no checkpoint ever
    holds a NaN. Every worker comes to the same verdict.

    ``policy`` is ``stop`` or ``skip``; more than ``most_skipped`` steps are not left out. ``own_gradients`` is False
    where gradients cannot be looked at here (DeepSpeed keeps them) or overflow is somebody else's to handle (loss
    scaling in float16): then losses alone count. ``on_begin`` and ``on_skip`` are told of a step's beginning and of its
    being left out, so that what was counted of it can be taken back.
    """

    on_begin: Callable[[], None] = staticmethod(lambda: None)
    on_skip: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, policy: str, most_skipped: int, own_gradients: bool = True) -> None:
        self.skipped = 0
        self._policy, self._most_skipped, self._own_gradients = policy, most_skipped, own_gradients
        self._seen: list[tuple[Tensor, list[int]]] = []

    def saw(self, loss: Tensor, batch: PackedBatch) -> None:
        """Remember a micro-batch of this step."""
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
        if self._policy == "skip" and self.skipped < self._most_skipped:
            self.skipped += 1
            warn(
                f"step {step} is left out: its loss or gradient is not finite; rows {rows} of the training data are in"
                " it (counted from 1). Look at them, or lower learning_rate."
            )
            model.zero_grad()  # an optimizer passes over weights without a gradient
            self.on_skip()
            return
        raise TrainingError("the loss or a gradient is NaN or infinite", [self._problem(step, rows)])

    def _is_bad(self, model: nn.Module) -> bool:
        values = [loss.reshape(1).float() for loss, _ in self._seen]
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if self._own_gradients and gradients:
            values.append(torch.nn.utils.get_total_norm(gradients).reshape(1).float())
        bad = (~torch.isfinite(torch.cat(values)).all()).to(torch.int32)
        if dist.is_initialized():
            dist.all_reduce(bad, op=dist.ReduceOp.MAX)
        return bool(bad.item())

    def _rows(self) -> str:
        """Rows of the micro-batches whose loss is not finite, of all workers; every row of the step when only a
        gradient is not."""
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
        skipped = f" after {self.skipped} steps were left out" if self.skipped else ""
        return Problem(
            f"step {step}",
            f"rows {rows} of the training data are in it (counted from 1){skipped}.",
            "Look at these rows; lower learning_rate or max_grad_norm; or set on_nonfinite: skip to leave such steps "
            "out. The checkpoint before is sound.",
        )
