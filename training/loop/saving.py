# SPDX-License-Identifier: Apache-2.0
"""How a transformers Trainer saves here: checkpoints that appear whole or not at all, no pickled arguments, and nothing
but data read back."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import nn
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput, get_last_checkpoint

from tadrib.training.adapters.composed_adapter import complete, load_trained
from tadrib.training.compat.transformers import Steps
from tadrib.training.files.containment import require_contained
from tadrib.training.files.manifest import Manifest
from tadrib.training.files.permissions import follow_umask
from tadrib.training.loop.keeper import FolderKeeper, Keeper, Saved
from tadrib.training.loop.resuming import loading_data_alone
from tadrib.training.model.weights import require_fitting
from tadrib.training.run.checkpoint_folders import STAGING, committed
from tadrib.training.run.names import step_of
from tadrib.training.run.versions import versions


class SavesWhole(Steps):
    """Stands first among the bases of a trainer that saves so.

    ``keeper`` commits what was written. ``global_batch`` is the rows of a step, for the manifest; None where
    unknown.
    ``checkpoint_seconds`` is how long training has stood still for checkpoints.
    """

    keeper: Keeper = FolderKeeper()
    global_batch: int | None = None
    checkpoint_seconds: float = 0.0

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> TrainOutput:
        """As transformers', after other trainings' checkpoints in the output folder have been set aside.

        Nothing but data is read from checkpoints: raises TrainingError for one that would have code run.
        """
        output = Path(self.args.output_dir)
        found = get_last_checkpoint(str(output)) if resume_from_checkpoint is True else resume_from_checkpoint
        with loading_data_alone(Path(found) if found else None):
            if resume_from_checkpoint is not True:  # then it is the newest one in the output folder
                begins = Path(resume_from_checkpoint or "")
                is_here = begins.resolve().parent == output.resolve()
                self.keeper.begin(output, (step_of(begins.name) or 0) if is_here else 0)
            return super().train(resume_from_checkpoint, **kwargs)

    def save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write aside, then commit, so that a checkpoint that exists is whole whenever the process dies."""
        began = time.perf_counter()
        output, step = Path(self.args.output_dir), self.state.global_step
        if self.args.should_save:
            self.keeper.require_ours()
            self._require_room(output)
        name = f"{PREFIX_CHECKPOINT_DIR}-{step}"
        with self._saving_to(output / STAGING):
            super().save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.state.best_global_step == step:
            self.state.best_model_checkpoint = str(output / name)
        if self.args.should_save:
            # without a path: `best_global_step` names the best checkpoint also where the run directory has moved to
            kept = dataclasses.replace(self.state, best_model_checkpoint=None)
            kept.save_to_json(str(output / STAGING / name / TRAINER_STATE_NAME))
        self.keeper.keep(
            Saved(
                aside=output / STAGING / name,
                target=output / name,
                rows_per_step=self.global_batch,
                limit=self.args.save_total_limit,
                best=self.state.best_global_step,
                versions=versions(),
            )
        )
        self.checkpoint_seconds += time.perf_counter() - began

    def _require_room(self, output: Path) -> None:
        """Raises OSError (ENOSPC) when a checkpoint like the last one does not fit: writing into a full disk may end
        the process with SIGBUS, which says nothing to anybody."""
        output.mkdir(parents=True, exist_ok=True)
        steps = committed(output)
        manifest = Manifest.read(steps[max(steps)]) if steps else None
        needed = sum(entry.bytes for entry in manifest.files.values()) if manifest else self._trained_bytes()
        if shutil.disk_usage(output).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output))

    def _trained_bytes(self) -> int:
        """What the trained weights take in a checkpoint: themselves, and two moments in float32."""
        trained = (p for p in self.model.parameters() if p.requires_grad)
        return sum(getattr(p, "ds_numel", p.numel()) * (p.element_size() + 8) for p in trained)

    @contextlib.contextmanager
    def _saving_to(self, folder: Path) -> Iterator[None]:
        if self.args.should_save:
            shutil.rmtree(folder, ignore_errors=True)
            require_contained(folder.parent, [folder.name])
        self.accelerator.wait_for_everyone()
        output, self.args.output_dir = self.args.output_dir, str(folder)
        try:
            yield
        finally:
            self.args.output_dir = output

    def save_weights(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super().save_weights(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            # a pickle has no place beside weights that others will load
            (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
            complete(self.model, folder)
            follow_umask(folder)

    def load_weights(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """As transformers', which leaves out with a log line what does not fit. Raises SpecError for it."""
        model, folder = model or self.model, Path(resume_from_checkpoint)
        if isinstance(model, PeftModel):
            load_trained(model, folder)
            return
        require_fitting(model, folder)
        super().load_weights(resume_from_checkpoint, model)

    def load_best_model(self) -> None:
        if isinstance(self.model, PeftModel) and not self.is_deepspeed_enabled:
            load_trained(self.model, Path(str(self.state.best_model_checkpoint)))
        else:
            super().load_best_model()
