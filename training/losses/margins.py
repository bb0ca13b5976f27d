# SPDX-License-Identifier: Apache-2.0
"""The margin by which a chosen answer beats a rejected one: the losses on it and the metrics of a pair."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def _logistic(margins: Tensor) -> Tensor:
    return -F.logsigmoid(margins)


def _hinge(margins: Tensor) -> Tensor:
    return F.relu(1 - margins)


_LOSSES = {"sigmoid": _logistic, "simpo": _logistic, "robust": _logistic, "hinge": _hinge}


def margin_losses(margins: Tensor, loss_type: str, label_smoothing: float = 0.0) -> Tensor:
    """Loss of each pair, [P], from its margin, [P]: the chosen answer's reward minus the rejected one's.

    ``l(m)`` is ``-log sigmoid(m)``, or ``max(0, 1 - m)`` with ``hinge``. If a share ``e`` of the labels is
    flipped, the expected loss is ``(1 - e) l(m) + e l(-m)``, which is what smoothing trains on; ``robust``
    inverts it to ``((1 - e) l(m) - e l(-m)) / (1 - 2 e)``, whose expectation over flipped labels is the ``l``
    of clean ones.

    Example: ``m = log 3`` is a win probability of 3/4: ``l(m) = log 4/3`` and ``l(-m) = log 4``.
    """
    loss = _LOSSES[loss_type]
    kept, flipped = 1 - label_smoothing, label_smoothing
    if loss_type == "robust":
        kept, flipped = kept / (1 - 2 * label_smoothing), -flipped / (1 - 2 * label_smoothing)
    return kept * loss(margins) + flipped * loss(-margins)


def share_won(margins: Tensor) -> Tensor:
    """1 for a positive margin, 0 for a negative one, 1/2 for a tie, [P].

    Departure: TRL counts a tie as lost, so that a policy equal to its reference starts at an accuracy of 0; here it
    starts at chance.
    """
    return torch.heaviside(margins.to(torch.float32), margins.new_tensor(0.5, dtype=torch.float32))


def kl_of_pairs(chosen_ratios: Tensor, rejected_ratios: Tensor) -> Tensor:
    """An estimate of KL(reference || policy) for each pair, in nats an answer, [P]: minus the mean log-ratio, [P], of
    its two answers, which stand for samples of the reference.

    That is Schulman's k1 (joschu.net/blog/kl-approx.html): without bias where the data were sampled from the
    reference, noisy, and of either sign. It says how far the policy has left its reference, not how good it is.

    Example: log-ratios 1 and -4: ``-(1 - 4) / 2 = 1.5``.
    """
    return -(chosen_ratios + rejected_ratios) / 2


def pair_metrics(
    losses: Tensor, chosen_rewards: Tensor, rejected_rewards: Tensor, chosen: Tensor, rejected: Tensor
) -> dict[str, Tensor]:
    """Metrics of pairs under TRL's names; the rewards are [P]."""
    margins = chosen_rewards - rejected_rewards
    metrics = {
        "loss": losses,
        "rewards/chosen": chosen_rewards,
        "rewards/rejected": rejected_rewards,
        "rewards/margins": margins,
        "rewards/accuracies": share_won(margins),
        "logps/chosen": chosen,
        "logps/rejected": rejected,
    }
    return {name: values.detach() for name, values in metrics.items()}
