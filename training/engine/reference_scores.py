# SPDX-License-Identifier: Apache-2.0
"""Reference log-probs of a batch's completions, by the same packed forward as the policy's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tadrib.training.data.group import Group
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.engine.collate import Path
from tadrib.training.engine.completions import sum_by_completion
from tadrib.training.engine.gathering import gathered
from tadrib.training.engine.self_check import choose_path


@dataclass(frozen=True, slots=True)
class Reference:
    """``score`` takes the policy and a batch to the reference's summed log-prob of each completion, [C], without
    gradient. The batch must be laid out for ``path``; None stands for the policy's own."""

    score: Callable[[PreTrainedModel, PackedBatch], Tensor]
    path: Path | None = None


def _without_adapters(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    was_training = model.training
    model.eval()  # the base model's own dropout, if it has any, must not blur the reference
    with torch.no_grad(), gathered(model), model.disable_adapter():
        scores = sum_by_completion(model(**batch.model_inputs()), batch)
    model.train(was_training)
    return scores


ADAPTERS_OFF = Reference(_without_adapters)
"""The reference is the policy without its LoRA adapters: the base model it started from."""


def frozen(reference_model: PreTrainedModel, tried: Sequence[Group]) -> Reference:
    """The reference is a model of its own, which scores like the policy and is never trained.

    It may be of another architecture, so it gets a path of its own, chosen on ``tried`` as by `choose_path`. Collective
    where its weights are in shards.
    """
    reference_model.requires_grad_(False).eval()
    path = choose_path(reference_model, tried).path

    def score(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
        with torch.no_grad(), gathered(reference_model):
            return sum_by_completion(reference_model(**batch.model_inputs()), batch)

    return Reference(score, path)
