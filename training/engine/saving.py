# SPDX-License-Identifier: Apache-2.0
"""How a transformers Trainer saves here: checkpoints that appear whole or not at all, and no pickled arguments."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from training.engine.checkpoints import STAGING, commit


class SavesWhole(Trainer):
    """Stands first among the bases of a trainer that saves so."""

    def _save_checkpoint(self, model, trial) -> None:
        """Write aside, then rename, so that a checkpoint that exists is whole whenever the process dies."""
        output = Path(self.args.output_dir)
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with self._saving_to(output / STAGING):
            super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(output / name)
        if self.args.should_save:
            self.state.save_to_json(str(output / STAGING / name / TRAINER_STATE_NAME))
            commit(output / STAGING / name, output / name)
            best = self.state.best_model_checkpoint
            rotate_checkpoints(
                str(output), self.args.save_total_limit, best_model_checkpoint=best, use_mtime=True
            )
        self.accelerator.wait_for_everyone()

    @contextlib.contextmanager
    def _saving_to(self, folder: Path) -> Iterator[None]:
        if self.args.should_save:
            shutil.rmtree(folder, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        output, self.args.output_dir = self.args.output_dir, str(folder)
        try:
            yield
        finally:
            self.args.output_dir = output

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        # a pickle has no place beside weights that others will load
        (Path(output_dir or self.args.output_dir) / TRAINING_ARGS_NAME).unlink(missing_ok=True)
