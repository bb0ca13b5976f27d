# SPDX-License-Identifier: Apache-2.0
"""Direct preference optimization: the reference-relative margin of chosen over rejected answers."""

from __future__ import annotations

from torch import Tensor

from tadrib.training.losses.answers import Pairs, needed
from tadrib.training.losses.ipo import squared_losses
from tadrib.training.losses.margins import kl_of_pairs, margin_losses, pair_metrics


def dpo_loss(
    pairs: Pairs,
    *,
    beta: float,
    loss_type: str = "sigmoid",
    label_smoothing: float = 0.0,
    sft_weight: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """``-log sigmoid(beta h)`` of each pair: Rafailov et al. 2023 (arXiv 2305.18290), equation 7.

    ``h`` is the log-ratio of the chosen answer of policy to reference less that of the rejected one, from the summed
    log-probs of P pairs, [P]; both answers need ``reference``.

    ``loss_type``: ``sigmoid``; ``hinge``, ``max(0, 1 - beta h)`` of SLiC (arXiv 2305.10425); ``robust``
    (arXiv 2403.00409); ``ipo``, the loss of `training.losses.ipo` per token with ``tau = beta``, for which
    both answers need ``lengths``, in tokens.

    ``sft_weight`` adds the mean negative log-likelihood of a chosen token (RPO, arXiv 2404.19733), for which
    ``num_chosen_tokens`` is needed. Raises ValueError with the name of a needed input that is missing.

    Example: ``beta`` 0.5 and log-ratios 1 and -1: ``h = 2``, a margin of 1, ``log(1 + e^-1) = 0.3133``.

    Departures. ``sigmoid`` with ``label_smoothing`` is conservative DPO; TRL 1.16 ignores it there.
    RPO's paper divides each log-likelihood by the tokens of its row, prompt included; like TRL we divide by
    chosen tokens, but by the step's, where TRL averages the means of micro-batches.

    Metrics, [P]: `pair_metrics` with rewards ``beta`` times the summed log-ratios, also for ``ipo``, as TRL; and
    ``kl`` of `kl_of_pairs`.
    """
    chosen, rejected = pairs.chosen, pairs.rejected
    chosen_ratios, rejected_ratios = chosen.log_ratios, rejected.log_ratios
    if loss_type == "ipo":
        h = chosen.per_token(chosen_ratios) - rejected.per_token(rejected_ratios)
        losses = squared_losses(h, beta, label_smoothing)
    else:
        losses = margin_losses(beta * (chosen_ratios - rejected_ratios), loss_type, label_smoothing)
    if sft_weight:
        tokens = needed(pairs.num_chosen_tokens, "num_chosen_tokens", "tokens of the step's chosen answers")
        losses = losses - sft_weight * chosen.log_probs * (pairs.num_pairs / tokens)
    metrics = pair_metrics(
        losses, beta * chosen_ratios, beta * rejected_ratios, chosen.log_probs, rejected.log_probs
    )
    metrics["kl"] = kl_of_pairs(chosen_ratios, rejected_ratios).detach()
    return losses.sum() / pairs.num_pairs, metrics
