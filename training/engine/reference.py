# SPDX-License-Identifier: Apache-2.0
"""Reference log-probs of a batch's completions, by the same packed forward as the policy's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.engine.batch import PackedBatch
from training.engine.completions import sum_by_completion
from training.engine.gathering import gathered

Reference = Callable[[PreTrainedModel, PackedBatch], Tensor]
"""The policy and a batch to the reference's summed log-prob of each completion, [C], without gradient."""


def adapters_off(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """The reference is the policy without its LoRA adapters: the base model it started from."""
    was_training = model.training
    model.eval()  # the base model's own dropout, if it has any, must not blur the reference
    with torch.no_grad(), gathered(model), model.disable_adapter():
        scores = sum_by_completion(model(**batch.model_inputs()), batch)
    model.train(was_training)
    return scores


def frozen(reference_model: PreTrainedModel) -> Reference:
    """The reference is a model of its own, which scores like the policy and is never trained."""
    reference_model.requires_grad_(False).eval()

    def score(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
        with torch.no_grad(), gathered(reference_model):
            return sum_by_completion(reference_model(**batch.model_inputs()), batch)

    return score
