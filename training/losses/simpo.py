# SPDX-License-Identifier: Apache-2.0
"""Simple preference optimization: the mean log-prob of a token as reward, and no reference model."""

from __future__ import annotations

from torch import Tensor

from tadrib.training.losses.margins import margin_losses, pair_metrics, per_token


def simpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    *,
    beta: float,
    simpo_gamma: float,
    num_pairs: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """``-log sigmoid(beta (c - r) - simpo_gamma)`` of each pair: Meng et al. 2024 (arXiv 2405.14734), eq. 6.

    ``c`` and ``r`` are the summed log-probs ``chosen`` and ``rejected`` of P pairs, [P], divided by their
    lengths in tokens, int [P]. ``simpo_gamma`` is the paper's gamma, a difference of rewards: ``beta`` does
    not scale it. ``num_pairs`` counts the pairs of the whole optimizer step.

    Example: ``beta`` 2, -2 over 2 tokens and -8 over 4, gamma 1: ``2 (-1 + 2) - 1 = 1``, ``log(1 + e^-1) =
    0.3133``.

    Departures: none; it is TRL's CPO with ``loss_type="simpo"`` and ``cpo_alpha=0``.

    Metrics, [P]: `pair_metrics` with rewards ``beta c`` and ``beta r``; ``logps/*`` are per token, as in TRL.
    """
    chosen, rejected = per_token(chosen, chosen_lengths), per_token(rejected, rejected_lengths)
    losses = margin_losses(beta * (chosen - rejected) - simpo_gamma, "sigmoid")
    metrics = pair_metrics(losses, beta * chosen, beta * rejected, chosen, rejected)
    return losses.sum() / num_pairs, metrics
