# SPDX-License-Identifier: Apache-2.0
"""Kahneman-Tversky optimization: single answers judged good or bad, against a shared baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from tadrib.training.losses.answers import JudgedAnswers
from tadrib.training.losses.margins import share_won


def kto_loss(
    judged: JudgedAnswers,
    kl: Tensor,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """``w (1 - sigmoid(beta g))`` of each answer: Ethayarajh et al. 2024 (arXiv 2402.01306), equation 7.

    ``g = r - kl`` for a desirable answer and ``kl - r`` for an undesirable one; ``r`` is the log-ratio of policy to
    reference of the summed log-probs of E answers, [E], and ``kl`` is `kl_estimate`'s scalar. Raises ValueError for
    answers without ``reference``.

    Example: ``beta`` 0.5, ``kl`` 1 and ``r`` 3: ``beta g = 1``, ``1 - sigmoid(1) = 0.2689`` times
    ``desirable_weight``; labelled undesirable, the same answer has 0.7311 times ``undesirable_weight``.

    Departures. None from the paper. ``kl`` is one for all answers of an optimizer step; TRL takes one for each
    micro-batch, so its loss depends on how a step is split. TRL leaves answers with a NaN loss out of its mean;
    here NaN reaches the step's loss, so that the trainer can stop at it.

    Metrics: ``loss``, ``kl`` and ``rewards/accuracies`` (`share_won` of ``g``), [E]; ``rewards/chosen`` and
    ``logps/chosen`` of the desirable answers only, ``rewards/rejected`` and ``logps/rejected`` of the others.
    Answers come without a counterpart, so a margin is the difference of two means, for the caller to take.
    """
    log_probs, labels = judged.answers.log_probs, judged.desirable
    log_ratios = judged.answers.log_ratios
    gains = torch.where(labels, log_ratios - kl, kl - log_ratios)
    losses = torch.where(labels, desirable_weight, undesirable_weight) * torch.sigmoid(-beta * gains)
    rewards = beta * log_ratios
    metrics = {
        "loss": losses,
        "kl": kl.expand_as(losses),
        "rewards/chosen": rewards[labels],
        "rewards/rejected": rewards[~labels],
        "rewards/accuracies": share_won(gains),
        "logps/chosen": log_probs[labels],
        "logps/rejected": log_probs[~labels],
    }
    return losses.sum() / judged.num_examples, {name: values.detach() for name, values in metrics.items()}


def kl_estimate(log_ratio_sum: Tensor, count: Tensor | int) -> Tensor:
    """``max(0, log_ratio_sum / count)``, a scalar without gradient: the baseline of `kto_loss`.

    ``log_ratio_sum`` adds up log-ratios of policy to reference over ``count`` mismatched answers (another
    row's answer after this row's prompt) of all workers, so that all measure against one baseline. The mean
    may be negative over few answers, which a divergence cannot be; without any answer it is 0.
    """
    return (log_ratio_sum / torch.as_tensor(count).clamp_min(1)).detach().clamp_min(0)
