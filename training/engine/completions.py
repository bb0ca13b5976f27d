# SPDX-License-Identifier: Apache-2.0
"""From token log-probs to completions and pairs. Shapes: T targets, C completions, P pairs, G groups."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tadrib.training.data.group import NEGATIVES
from tadrib.training.engine.batch import PackedBatch


def sum_by_completion(token_log_probs: Tensor, batch: PackedBatch) -> Tensor:
    """Log-prob of each completion, [C]: the sum over its targets."""
    sums = token_log_probs.new_zeros(len(batch.roles))
    return sums.index_add(0, batch.completion_of_target, token_log_probs)


def completion_lengths(batch: PackedBatch) -> Tensor:
    """Targets of each completion, int64 [C]."""
    return torch.bincount(batch.completion_of_target, minlength=len(batch.roles))


class Pairs(NamedTuple):
    """Every chosen answer with each negative of its group: completion numbers, int64 [P] each."""

    chosen: Tensor
    rejected: Tensor


def pairs_of(batch: PackedBatch) -> Pairs:
    rejected = with_role(batch, *NEGATIVES)
    chosen = with_role(batch, "chosen")
    return Pairs(chosen[batch.group_of_completion[rejected]], rejected)


def chosen_tokens(token_log_probs: Tensor, batch: PackedBatch) -> Tensor:
    """Log-probs of the tokens of chosen answers, and of KTO's desirable ones, out of those of all targets, [T]."""
    answers = with_role(batch, "completion")
    desirable = answers[batch.labels[batch.group_of_completion[answers]]]
    preferred = torch.cat([with_role(batch, "chosen"), desirable])
    return token_log_probs[torch.isin(batch.completion_of_target, preferred)]


def with_role(batch: PackedBatch, *roles: str) -> Tensor:
    """Numbers of the completions that have one of ``roles``, ascending, int64."""
    found = [i for i, role in enumerate(batch.roles) if role in roles]
    return torch.tensor(found, dtype=torch.long, device=batch.targets.device)
