# SPDX-License-Identifier: Apache-2.0
"""Direct preference optimization: the reference-relative margin of chosen over rejected answers."""

from __future__ import annotations

from torch import Tensor

from tadrib.training.losses.ipo import squared_losses
from tadrib.training.losses.margins import kl_of_pairs, margin_losses, pair_metrics, per_token


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float,
    num_pairs: int,
    loss_type: str = "sigmoid",
    label_smoothing: float = 0.0,
    chosen_lengths: Tensor | None = None,
    rejected_lengths: Tensor | None = None,
    sft_weight: float = 0.0,
    num_chosen_tokens: int = 0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """``-log sigmoid(beta h)`` of each pair: Rafailov et al. 2023 (arXiv 2305.18290), equation 7.

    ``h = (chosen - ref_chosen) - (rejected - ref_rejected)`` of the summed log-probs of P pairs, [P], under
    the policy and the reference. ``num_pairs`` counts the pairs of the whole optimizer step.

    ``loss_type``: ``sigmoid``; ``hinge``, ``max(0, 1 - beta h)`` of SLiC (arXiv 2305.10425); ``robust``
    (arXiv 2403.00409); ``ipo``, the loss of `training.losses.ipo` per token with ``tau = beta``, for which
    both lengths are needed, in tokens, int [P].

    ``sft_weight`` adds the mean negative log-likelihood of a chosen token (RPO, arXiv 2404.19733);
    ``num_chosen_tokens`` counts those tokens in the whole step, once for each pair.

    Example: ``beta`` 0.5 and log-ratios 1 and -1: ``h = 2``, a margin of 1, ``log(1 + e^-1) = 0.3133``.

    Departures. ``sigmoid`` with ``label_smoothing`` is conservative DPO; TRL 1.16 ignores it there.
    RPO's paper divides each log-likelihood by the tokens of its row, prompt included; like TRL we divide by
    chosen tokens, but by the step's, where TRL averages the means of micro-batches.

    Metrics, [P]: `pair_metrics` with rewards ``beta`` times the summed log-ratios, also for ``ipo``, as TRL; and
    ``kl`` of `kl_of_pairs`.
    """
    chosen_ratios, rejected_ratios = chosen - ref_chosen, rejected - ref_rejected
    if loss_type == "ipo":
        h = per_token(chosen_ratios, chosen_lengths) - per_token(rejected_ratios, rejected_lengths)
        losses = squared_losses(h, beta, label_smoothing)
    else:
        losses = margin_losses(beta * (chosen_ratios - rejected_ratios), loss_type, label_smoothing)
    if sft_weight:
        losses = losses - sft_weight * chosen * (num_pairs / num_chosen_tokens)
    metrics = pair_metrics(losses, beta * chosen_ratios, beta * rejected_ratios, chosen, rejected)
    metrics["kl"] = kl_of_pairs(chosen_ratios, rejected_ratios).detach()
    return losses.sum() / num_pairs, metrics
