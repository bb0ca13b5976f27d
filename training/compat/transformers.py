# SPDX-License-Identifier: Apache-2.0
"""transformers 5.23.0: the steps of its Trainer that ours take part in, and what its models say of themselves.

Callbacks may watch these steps; only an override can change what they do:
https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/trainer.py
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer
from transformers.trainer_utils import TrainOutput

MADE_FOR = "5.23.0"


class Steps(Trainer):
    """transformers' Trainer, whose private steps have public names here. A subclass overrides these, and reaches what
    transformers does by ``super()``; each takes and returns what the private step does."""

    def on_device(self, inputs: Any) -> Any:
        return super()._prepare_inputs(inputs)

    def count_items(self, batch_samples: list, device: torch.device) -> Tensor | int | None:
        """What the loss of an optimizer step is divided by."""
        return super()._get_num_items_in_batch(batch_samples, device)

    def begin_training(
        self,
        max_steps: int,
        num_update_steps_per_epoch: int,
        num_train_epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        """Read the state of a checkpoint; gives the epoch and the step within it to go on from."""
        return super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )

    def run_epoch(self, **kwargs: Any) -> None:
        super()._run_epoch(**kwargs)

    def end_training(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Load the best model where that is asked for, delete checkpoints over the limit, and log the run's metrics."""
        return super()._finalize_training(*args, **kwargs)

    def is_best(self, metrics: dict[str, float], trial: Any) -> bool:
        """Take note of an evaluation's score; whether it is the best so far."""
        return super()._determine_best_metric(metrics, trial)

    def save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)

    def save_weights(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)

    def load_weights(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def load_best_model(self) -> None:
        super()._load_best_model()

    @property
    def loss_to_log(self) -> Tensor:
        """The sum of the losses of micro-batches since the last logged step, a scalar on the device."""
        return vars(self)["_tr_loss"]

    @property
    def has_stepped(self) -> bool:
        """Whether this training has done a step of its own."""
        return self.state.global_step > self._initial_global_step

    def forget_step(self, loss_before: Tensor) -> None:
        """Leave the step that is under way out of all means; ``loss_before`` is `loss_to_log` as it began."""
        self._tr_loss = loss_before
        self._globalstep_last_logged += 1
        self._initial_global_step += 1

    # --- as transformers calls them

    def _prepare_inputs(self, inputs: Any) -> Any:
        return self.on_device(inputs)

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Tensor | int | None:
        return self.count_items(batch_samples, device)

    def _init_training_state(
        self,
        max_steps: int,
        num_update_steps_per_epoch: int,
        num_train_epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        return self.begin_training(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )

    def _run_epoch(self, **kwargs: Any) -> None:
        self.run_epoch(**kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> TrainOutput:
        return self.end_training(*args, **kwargs)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        return self.is_best(metrics, trial)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.save_checkpoint(model, trial)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        self.save_weights(output_dir, state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self.load_weights(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        self.load_best_model()


def attention_implementation(model: PreTrainedModel) -> str:
    """The name by which `set_attn_implementation` was called last, or what transformers chose."""
    return model.config._attn_implementation


def supports_sdpa(model: PreTrainedModel) -> bool:
    return model._supports_sdpa


def is_recurrent(model: PreTrainedModel) -> bool:
    """Whether the model says that it carries state from token to token, as Mamba does."""
    return getattr(model, "_is_stateful", False)
