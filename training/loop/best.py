# SPDX-License-Identifier: Apache-2.0
"""The best checkpoint of a run: the best of those that still exist, even if the run directory has moved."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput

from tadrib.training.loop.saving import AtomicSaveMixin
from tadrib.training.notices import warn


class BestCheckpointMixin(AtomicSaveMixin):
    """Mixin for a trainer that can finish with its best checkpoint; it has to precede `Trainer` among the bases.

    ``best_global_step`` of the trainer state identifies that checkpoint; a path would not survive a move.
    """

    def is_best(self, metrics: dict[str, float], trial: Any) -> bool:
        """An evaluation without a checkpoint cannot be the best: there would be no weights to finish with."""
        return self.control.should_save and super().is_best(metrics, trial)

    def begin_training(
        self,
        max_steps: int,
        num_update_steps_per_epoch: int,
        num_train_epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        begun = super().begin_training(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        if resume_from_checkpoint is not None:
            self._restore_best(Path(resume_from_checkpoint).parent)
        return begun

    def _restore_best(self, folder: Path) -> None:
        """Pick the best of the checkpoints that still exist, by the scores recorded in the trainer state."""
        step, score = self._best_of(self.checkpoint_manager.steps(folder))
        self.state.best_global_step, self.state.best_metric = step, score
        self.state.best_model_checkpoint = None if step is None else str(_checkpoint(folder, step))

    def _best_of(self, steps: Collection[int] | None = None) -> tuple[int | None, float | None]:
        """Step and score of the best evaluation so far, among ``steps`` if given. Both are None if there is none."""
        # transformers accepts the metric's name with and without the prefix, and logs it with it
        name = f"eval_{self.args.metric_for_best_model.removeprefix('eval_')}"
        scores = {
            row["step"]: row[name]
            for row in self.state.log_history
            if math.isfinite(row.get(name, math.nan)) and (steps is None or row["step"] in steps)
        }
        if not scores:
            return None, None
        best = (max if self.args.greater_is_better else min)(scores, key=scores.__getitem__)
        return best, scores[best]

    def end_training(self, *args: Any, **kwargs: Any) -> TrainOutput:
        # with a limit of 1 transformers would delete the newest checkpoint and keep the best one, from which a run
        # that dies before its final weights are written would resume
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            output = super().end_training(*args, **kwargs)
        finally:
            self.args.save_total_limit = limit
        # a run that was stopped early is resumed later, and says it then
        if self.args.load_best_model_at_end and self.state.global_step >= self.state.max_steps:
            self._warn_if_best_not_saved()
        return output

    def load_best_model(self) -> None:
        self.checkpoint_manager.fetch(Path(self.state.best_model_checkpoint))
        super().load_best_model()

    def _warn_if_best_not_saved(self) -> None:
        name, saved = self.args.metric_for_best_model, self.state.best_global_step
        best, score = self._best_of()
        if saved is None:
            found = "no evaluation had a finite value" if best is None else f"step {best} was not saved"
            warn(
                f"load_best_model_at_end: no checkpoint has a {name} ({found}), so the run ends with the weights of its"
                f" last step, {self.state.global_step}. Set save_steps equal to eval_steps to save what is evaluated."
            )
        elif best is not None and score != self.state.best_metric:
            warn(
                f"load_best_model_at_end: {name} was best at step {best} ({score:.4g}), which has no checkpoint; the"
                f" run ends with the best one that was saved, step {saved} ({self.state.best_metric:.4g})."
                " Set save_steps equal to eval_steps to save what is evaluated."
            )


def _checkpoint(folder: Path, step: int) -> Path:
    return folder / f"{PREFIX_CHECKPOINT_DIR}-{step}"
