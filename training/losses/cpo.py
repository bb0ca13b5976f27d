# SPDX-License-Identifier: Apache-2.0
"""Contrastive preference optimization: a chosen answer against one or many negatives, without a reference.

With a group's chosen answer ``c``, its negatives ``r_j`` of weights ``w_j``, and ``m_j = beta (c - r_j)``:

- ``pairwise``: ``sum_j w_j l(m_j) / sum_j w_j``, the weighted mean of one term for each pair;
- ``softmax``: ``l(-log sum_j w_j exp(-m_j))``, one term for all candidates. For ``l(m) = -log sigmoid(m)``
  it is ``-log(exp(beta c) / (exp(beta c) + sum_j w_j exp(beta r_j)))``.

Both are the paper's loss for one negative of weight 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tadrib.training.losses.answers import Groups
from tadrib.training.losses.margins import margin_losses, pair_metrics

MarginLosses = Callable[[Tensor], Tensor]


def cpo_loss(
    groups: Groups,
    *,
    beta: float,
    loss_type: str = "sigmoid",
    cpo_alpha: float = 1.0,
    simpo_gamma: float = 0.0,
    label_smoothing: float = 0.0,
    multi_negative: str = "pairwise",
) -> tuple[Tensor, dict[str, Tensor]]:
    """``l + cpo_alpha nll`` of each group: Xu et al. 2024 (arXiv 2401.08417), equation 3 and its NLL term.

    The log-probs are sums, [G] of chosen answers and [M] of negatives. ``simpo`` is ``sigmoid`` of log-probs per token
    less ``simpo_gamma``; it needs ``lengths`` of both: raises ValueError without them.

    Example: ``beta`` 0.5, ``c`` -2, ``r`` -4 and -6, ``w`` 1 and 3: ``m`` 1 and 2, pairwise ``(0.3133 + 3 *
    0.1269) / 4 = 0.1735``, softmax ``log(1 + e^-1 + 3 e^-2) = 0.5733``; two chosen tokens: ``nll = 1``.

    Departures. Many negatives are ours. The paper sums nll over the answer; like TRL we average it over
    tokens, but over the step's, where TRL averages the means of micro-batches.

    Metrics: ``loss`` and ``nll_loss`` (on average that of a chosen token), [G]; `pair_metrics` with rewards
    ``beta`` times what is compared, [M]; ``logps/chosen`` is [G], and ``simpo`` has ``logps/*`` per token.
    """
    chosen, negatives, gamma = groups.chosen.log_probs, groups.negatives.log_probs, 0.0
    nll = -chosen * (groups.num_groups / groups.num_chosen_tokens)
    if loss_type == "simpo":
        chosen, negatives = groups.chosen.per_token(chosen), groups.negatives.per_token(negatives)
        gamma = simpo_gamma
    group_of = groups.group_of_negative
    chosen_of_pair = chosen[group_of]
    margins = beta * (chosen_of_pair - negatives) - gamma
    losses_of = partial(margin_losses, loss_type=loss_type, label_smoothing=label_smoothing)
    combine = _COMBINATIONS[multi_negative]
    weights = groups.weights.to(margins.dtype)
    losses = combine(margins, weights, group_of, len(chosen), losses_of) + cpo_alpha * nll
    metrics = pair_metrics(losses, beta * chosen_of_pair, beta * negatives, chosen, negatives)
    return losses.sum() / groups.num_groups, metrics | {"nll_loss": nll.detach()}


def _pairwise(
    margins: Tensor, weights: Tensor, groups: Tensor, num_groups: int, losses_of: MarginLosses
) -> Tensor:
    """Weighted mean of the losses of each group's pairs, [M] to [G]; 0 for a group without weight."""
    weight_sums = _sums(weights, groups, num_groups)
    return _sums(weights * losses_of(margins), groups, num_groups) / _positive(weight_sums)


def _softmax(
    margins: Tensor, weights: Tensor, groups: Tensor, num_groups: int, losses_of: MarginLosses
) -> Tensor:
    """Loss of each group's soft minimum of margins, [M] to [G]; 0 for a group without weight."""
    scores = weights.log() - margins
    peaks = scores.new_full((num_groups,), -torch.inf).scatter_reduce(0, groups, scores.detach(), "amax")
    weighted = peaks > -torch.inf
    peaks = torch.where(weighted, peaks, 0.0)
    sums = _sums((scores - peaks[groups]).exp(), groups, num_groups)
    return torch.where(weighted, losses_of(-(peaks + _positive(sums).log())), 0.0)


_COMBINATIONS = {"pairwise": _pairwise, "softmax": _softmax}


def _sums(values: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    return values.new_zeros(num_groups).index_add(0, groups, values)


def _positive(values: Tensor) -> Tensor:
    """``values`` with 0 replaced by the smallest normal number, so that dividing and log stay finite."""
    return values.clamp_min(torch.finfo(values.dtype).tiny)
