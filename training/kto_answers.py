# SPDX-License-Identifier: Apache-2.0
"""KTO's answers of a batch, and the baseline that all workers' answers share."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from training.engine.batch import PackedBatch
from training.engine.completions import sum_by_completion, with_role
from training.losses.kto import kl_estimate


class KTOAnswers(NamedTuple):
    """The judged answers of a batch, E of them; a stand-in's have no ``weight``."""

    policy: Tensor
    """[E]: summed log-probs; ``reference`` the same under the reference."""
    reference: Tensor
    labels: Tensor
    """bool [E]: True for desirable."""
    divergence: Tensor
    """[2]: sum and number of the mismatched answers' log-ratios."""
    weight: float
    num_examples: int
    """Answers of the whole optimizer step."""


def answers_of(token_log_probs: Tensor, batch: PackedBatch) -> KTOAnswers:
    scores, reference = sum_by_completion(token_log_probs, batch), batch.reference_scores
    answers, mismatched = with_role(batch, "completion"), with_role(batch, "kl")
    log_ratios = (scores[mismatched] - reference[mismatched]).detach()
    divergence = torch.stack([log_ratios.sum(), log_ratios.new_tensor(len(log_ratios))])
    return KTOAnswers(
        scores[answers],
        reference[answers],
        batch.labels,
        divergence if batch.weight else torch.zeros_like(divergence),
        batch.weight,
        batch.step.groups,
    )


def shared_baseline(divergence: Tensor) -> Tensor:
    """`kl_estimate` over the answers of all workers, from each one's ``divergence``, [2]. Collective."""
    if dist.is_initialized():
        dist.all_reduce(divergence)
    return kl_estimate(divergence[0], divergence[1])
