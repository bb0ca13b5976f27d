# SPDX-License-Identifier: Apache-2.0
"""Identity preference optimization: a squared loss that stops pushing at a set margin."""

from __future__ import annotations

import torch
from torch import Tensor

from tadrib.training.losses.answers import Pairs
from tadrib.training.losses.margins import kl_of_pairs, pair_metrics


def ipo_loss(
    pairs: Pairs, *, beta: float, tau: float, label_smoothing: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """``(h - 1 / (2 tau))^2`` of each pair: Azar et al. 2023 (arXiv 2310.12036), equation 17.

    ``h`` is the log-ratio of the chosen answer of policy to reference less that of the rejected one, each divided by
    its answer's length, from the summed log-probs of P pairs, [P]; both answers need ``reference`` and ``lengths``,
    which `answer_lengths` gives. Raises ValueError with the name of a needed input that is missing.

    ``tau`` alone sets the target of ``h``. ``beta`` is no part of the paper's loss nor of this one: it scales
    the logged rewards, so that a pair on target shows a margin of ``beta / (2 tau)``.

    Example: log-ratios 6 over 2 tokens and -4 over 4: ``h = 3 + 1``; ``tau`` 0.25: ``(4 - 2)^2 = 4``.

    Departures. The paper has summed log-ratios; its authors, TRL and our default average them over tokens.
    TRL's DPO with ``loss_type="ipo"`` and ``tau`` as its ``beta`` has the same loss, but rewards from sums.

    Metrics, [P]: `pair_metrics` with rewards ``beta`` times the two terms of ``h``; and ``kl`` of `kl_of_pairs`.
    """
    chosen, rejected = pairs.chosen, pairs.rejected
    chosen_ratios = chosen.per_token(chosen.log_ratios)
    rejected_ratios = rejected.per_token(rejected.log_ratios)
    losses = squared_losses(chosen_ratios - rejected_ratios, tau, label_smoothing)
    metrics = pair_metrics(
        losses, beta * chosen_ratios, beta * rejected_ratios, chosen.log_probs, rejected.log_probs
    )
    metrics["kl"] = kl_of_pairs(chosen.log_ratios, rejected.log_ratios).detach()
    return losses.sum() / pairs.num_pairs, metrics


def squared_losses(h: Tensor, tau: float, label_smoothing: float = 0.0) -> Tensor:
    """``(1 - e) (h - t)^2 + e (h + t)^2``, [P]: ``t = 1 / (2 tau)``, ``e`` the share of flipped labels.

    That is ``(h - (1 - 2 e) t)^2 + 4 e (1 - e) t^2``: smoothing brings the target nearer to 0.
    """
    target = 1 / (2 * tau)
    return (1 - label_smoothing) * (h - target) ** 2 + label_smoothing * (h + target) ** 2


def answer_lengths(normalization: str, tokens: Tensor, given: Tensor) -> Tensor:
    """What the log-ratios of answers are divided by, int [P].

    ``tokens``: the tokens scored; ``given``: the length that the row states, or the tokens where ``given`` is
    0 because it states none; ``none``: 1.
    """
    if normalization == "none":
        return torch.ones_like(tokens)
    if normalization == "given":
        return torch.where(given > 0, given, tokens)
    return tokens
