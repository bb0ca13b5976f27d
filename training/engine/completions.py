# SPDX-License-Identifier: Apache-2.0
"""Aggregate token log-probs into the records that losses take. Shapes: T targets, C completions."""

from __future__ import annotations

import torch
from torch import Tensor

from tadrib.training.data.group import NEGATIVES
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.losses.answers import Answers, Groups, JudgedAnswers, Pairs


def sum_by_completion(token_log_probs: Tensor, batch: PackedBatch) -> Tensor:
    """Log-prob of each completion, [C]: the sum over its targets' log-probs [T]."""
    sums = token_log_probs.new_zeros(len(batch.roles))
    return sums.index_add(0, batch.completion_of_target, token_log_probs)


def completion_lengths(batch: PackedBatch) -> Tensor:
    """Number of targets in each completion, int64 [C]."""
    return torch.bincount(batch.completion_of_target, minlength=len(batch.roles))


def answers_of(token_log_probs: Tensor, batch: PackedBatch) -> Answers:
    """All completions as answers, [C], with their lengths in targets, and their reference log-probs if computed."""
    log_probs = sum_by_completion(token_log_probs, batch)
    return Answers(log_probs, batch.reference, completion_lengths(batch))


def pairs_of(answers: Answers, batch: PackedBatch) -> Pairs:
    """Every chosen answer with each negative of its group, out of those of all completions, [C]."""
    rejected = with_role(batch, *NEGATIVES)
    # one chosen answer a group and groups in order: the g-th chosen completion is that of group g
    chosen = with_role(batch, "chosen")[batch.group_of_completion[rejected]]
    return Pairs(answers[chosen], answers[rejected], batch.step.pairs, batch.step.paired_chosen_targets)


def groups_of(answers: Answers, batch: PackedBatch, *, hard_negative_weight: float = 1.0) -> Groups:
    """Each chosen answer with all negatives of its group, selected from all completions [C]. A rejected answer has
    weight 1."""
    negatives = with_role(batch, *NEGATIVES)
    hard = torch.isin(negatives, with_role(batch, "hard_negative"))
    return Groups(
        answers[with_role(batch, "chosen")],
        answers[negatives],
        batch.group_of_completion[negatives],
        torch.where(hard, hard_negative_weight, 1.0),
        batch.step.groups,
        batch.step.chosen_targets,
    )


def judged_of(token_log_probs: Tensor, batch: PackedBatch) -> JudgedAnswers:
    """The completions that have a label of their own, with the labels of their groups."""
    numbers = with_role(batch, "completion")
    judged = answers_of(token_log_probs, batch)[numbers]
    return JudgedAnswers(judged, batch.labels[batch.group_of_completion[numbers]], batch.step.groups)


def chosen_tokens(token_log_probs: Tensor, batch: PackedBatch) -> Tensor:
    """Log-probs of the tokens in chosen answers (for KTO, in desirable ones), selected from all targets' [T]."""
    answers = with_role(batch, "completion")
    desirable = answers[batch.labels[batch.group_of_completion[answers]]]
    preferred = torch.cat([with_role(batch, "chosen"), desirable])
    return token_log_probs[torch.isin(batch.completion_of_target, preferred)]


def with_role(batch: PackedBatch, *roles: str) -> Tensor:
    """Indices of the completions with one of ``roles``, ascending, int64."""
    found = [i for i, role in enumerate(batch.roles) if role in roles]
    return torch.tensor(found, dtype=torch.long, device=batch.targets.device)
