# SPDX-License-Identifier: Apache-2.0
"""KTO's KL baseline, which all answers of an optimizer step share: the divergence of mismatched answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from tadrib.training.engine.batch import PackedBatch
from tadrib.training.engine.completions import answers_of, with_role
from tadrib.training.loop.objective import Baseline, Scored
from tadrib.training.losses.kto import kl_estimate


def divergence_of(token_log_probs: Tensor, batch: PackedBatch) -> Tensor:
    """[2]: sum and count of the log-ratios of a batch's mismatched answers, without gradient; 0 for a placeholder."""
    log_ratios = answers_of(token_log_probs, batch)[with_role(batch, "kl")].log_ratios.detach()
    divergence = torch.stack([log_ratios.sum(), log_ratios.new_tensor(len(log_ratios))])
    return divergence if batch.weight else torch.zeros_like(divergence)


def shared_baseline(divergences: Sequence[Tensor]) -> Tensor:
    """`kl_estimate` over the mismatched answers of all workers, from each batch's `divergence_of`. Collective."""
    total = torch.stack(list(divergences)).sum(0)
    if dist.is_initialized():
        dist.all_reduce(total)
    return kl_estimate(total[0], total[1])


def _of_step(scored: Iterable[Scored]) -> Tensor:
    return shared_baseline([divergence_of(*each) for each in scored])


STEP_BASELINE = Baseline("kl", _of_step)
"""Difference from TRL: TRL estimates the baseline separately for each micro-batch, so its loss depends on how a step is
split."""
