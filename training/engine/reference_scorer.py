# SPDX-License-Identifier: Apache-2.0
"""Reference log-probs of a batch's completions, computed by the same packed forward pass as the policy's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tadrib.training.data.group import Group
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.engine.collate import ScoringPath
from tadrib.training.engine.completions import sum_by_completion
from tadrib.training.engine.gathering import gathered
from tadrib.training.engine.self_check import choose_scoring_path


@dataclass(frozen=True, slots=True)
class ReferenceScorer:
    """``score`` maps the policy and a batch to the reference model's summed log-prob of each completion, [C], without
    gradient. The batch must be collated for ``path``; None means the policy's own scoring path."""

    score: Callable[[PreTrainedModel, PackedBatch], Tensor]
    path: ScoringPath | None = None


def _without_adapters(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    was_training = model.training
    model.eval()  # any dropout in the base model would make the reference noisy
    with torch.no_grad(), gathered(model), model.disable_adapter():
        scores = sum_by_completion(model(**batch.model_inputs()), batch)
    model.train(was_training)
    return scores


ADAPTERS_OFF = ReferenceScorer(_without_adapters)
"""The reference is the policy without its LoRA adapters: the base model it started from."""


def frozen_reference(reference_model: PreTrainedModel, samples: Sequence[Group]) -> ReferenceScorer:
    """A separate, frozen reference model, prepared by `install_scoring`.

    It may have another architecture than the policy, so its scoring path is chosen separately, by running
    `choose_scoring_path` on ``samples``. Collective if its weights are partitioned.
    """
    reference_model.requires_grad_(False).eval()
    path = choose_scoring_path(reference_model, samples).path

    def score(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
        with torch.no_grad(), gathered(reference_model):
            return sum_by_completion(reference_model(**batch.model_inputs()), batch)

    return ReferenceScorer(score, path)
