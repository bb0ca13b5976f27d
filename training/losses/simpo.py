# SPDX-License-Identifier: Apache-2.0
"""Simple preference optimization: the mean log-prob of a token as reward, and no reference model."""

from __future__ import annotations

from torch import Tensor

from tadrib.training.losses.answers import Pairs
from tadrib.training.losses.margins import margin_losses, pair_metrics


def simpo_loss(pairs: Pairs, *, beta: float, simpo_gamma: float) -> tuple[Tensor, dict[str, Tensor]]:
    """``-log sigmoid(beta (c - r) - simpo_gamma)`` of each pair: Meng et al. 2024 (arXiv 2405.14734), eq. 6.

    ``c`` and ``r`` are the summed log-probs of the chosen and rejected answers of P pairs, [P], divided by their
    ``lengths`` in tokens, which are needed: raises ValueError without them. ``simpo_gamma`` is the paper's gamma, a
    difference of rewards: ``beta`` does not scale it.

    Example: ``beta`` 2, -2 over 2 tokens and -8 over 4, gamma 1: ``2 (-1 + 2) - 1 = 1``, ``log(1 + e^-1) =
    0.3133``.

    Departures: none; it is TRL's CPO with ``loss_type="simpo"`` and ``cpo_alpha=0``.

    Metrics, [P]: `pair_metrics` with rewards ``beta c`` and ``beta r``; ``logps/*`` are per token, as in TRL.
    """
    chosen = pairs.chosen.per_token(pairs.chosen.log_probs)
    rejected = pairs.rejected.per_token(pairs.rejected.log_probs)
    losses = margin_losses(beta * (chosen - rejected) - simpo_gamma, "sigmoid")
    metrics = pair_metrics(losses, beta * chosen, beta * rejected, chosen, rejected)
    return losses.sum() / pairs.num_pairs, metrics
