# SPDX-License-Identifier: Apache-2.0
"""Safe saving for a transformers Trainer: atomic checkpoints, no pickled arguments, and only data read back.

A save goes through three states: written to ``.saving/checkpoint-N`` by all workers, sealed with a manifest there, and
renamed to ``checkpoint-N``. A process may die in any of them; only the last one counts as a checkpoint.
"""

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
from tadrib.training.loop.checkpoint_manager import (
    CheckpointManager,
    FolderCheckpointManager,
    SavedCheckpoint,
)
from tadrib.training.loop.resuming import loading_data_alone
from tadrib.training.model.weights import require_fitting
from tadrib.training.run.checkpoint_folders import STAGING, committed
from tadrib.training.run.names import step_of
from tadrib.training.run.versions import versions


class AtomicSaveMixin(Steps):
    """Mixin for a trainer that saves this way; it has to precede `Trainer` among the bases.

    ``checkpoint_manager`` commits what was written. ``global_batch`` is the number of rows per step, for the manifest
    (None if unknown). ``checkpoint_seconds`` is how long training has been blocked by checkpoints.
    """

    checkpoint_manager: CheckpointManager = FolderCheckpointManager()
    global_batch: int | None = None
    checkpoint_seconds: float = 0.0

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> TrainOutput:
        """Like transformers' ``train``, after renaming checkpoints of other trainings in the output folder.

        Only data is read from checkpoints: raises TrainingError for one that would execute code.
        """
        output = Path(self.args.output_dir)
        found = get_last_checkpoint(str(output)) if resume_from_checkpoint is True else resume_from_checkpoint
        with loading_data_alone(Path(found) if found else None):
            if resume_from_checkpoint is not True:  # then it is the newest one in the output folder
                begins = Path(resume_from_checkpoint or "")
                is_here = begins.resolve().parent == output.resolve()
                self.checkpoint_manager.begin(output, (step_of(begins.name) or 0) if is_here else 0)
            return super().train(resume_from_checkpoint, **kwargs)

    def save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write to the staging folder, then commit: a checkpoint that exists is complete, whenever the process dies."""
        began = time.perf_counter()
        output, step = Path(self.args.output_dir), self.state.global_step
        if self.args.should_save:
            self.checkpoint_manager.require_ownership()
            self._require_disk_space(output)
        # all workers write: rank 0 weights and optimizer, each its random state and, with ZeRO, its optimizer shard
        name = f"{PREFIX_CHECKPOINT_DIR}-{step}"
        with self._saving_to(output / STAGING):
            super().save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.state.best_global_step == step:
            self.state.best_model_checkpoint = str(output / name)
        if self.args.should_save:
            # no path in the saved state: `best_global_step` still identifies the best checkpoint if the run is moved
            kept = dataclasses.replace(self.state, best_model_checkpoint=None)
            kept.save_to_json(str(output / STAGING / name / TRAINER_STATE_NAME))
        self.checkpoint_manager.commit(
            SavedCheckpoint(
                aside=output / STAGING / name,
                target=output / name,
                rows_per_step=self.global_batch,
                limit=self.args.save_total_limit,
                best=self.state.best_global_step,
                versions=versions(),
            )
        )
        self.checkpoint_seconds += time.perf_counter() - began

    def _require_disk_space(self, output: Path) -> None:
        """Raises OSError (ENOSPC) if a checkpoint as large as the last one does not fit.

        Writing to a full disk may otherwise kill the process with SIGBUS, without any message.
        """
        output.mkdir(parents=True, exist_ok=True)
        steps = committed(output)
        manifest = Manifest.read(steps[max(steps)]) if steps else None
        needed = sum(entry.bytes for entry in manifest.files.values()) if manifest else self._trained_bytes()
        if shutil.disk_usage(output).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output))

    def _trained_bytes(self) -> int:
        """Bytes of the trained weights in a checkpoint: the weights themselves, and two float32 moments for each."""
        trained = (p for p in self.model.parameters() if p.requires_grad)
        return sum(getattr(p, "ds_numel", p.numel()) * (p.element_size() + 8) for p in trained)

    @contextlib.contextmanager
    def _saving_to(self, folder: Path) -> Iterator[None]:
        if self.args.should_save:
            shutil.rmtree(folder, ignore_errors=True)  # left by a save that never finished
            require_contained(folder.parent, [folder.name])
        # nobody writes before rank 0 has emptied the folder
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
            # transformers pickles its arguments; nobody should load a pickle that comes with weights
            (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
            complete(self.model, folder)
            follow_umask(folder)

    def load_weights(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Like transformers', but raises SpecError for weights that do not fit, which transformers skips with a log
        line."""
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
