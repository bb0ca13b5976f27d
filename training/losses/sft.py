# SPDX-License-Identifier: Apache-2.0
"""Supervised fine-tuning: negative log-likelihood of the response tokens."""

from __future__ import annotations

from torch import Tensor


def sft_loss(token_log_probs: Tensor, num_targets: int) -> tuple[Tensor, dict[str, Tensor]]:
    """``-sum_t log p(y_t | x, y_<t) / num_targets`` over the trained tokens, [T].

    ``num_targets`` counts the trained tokens of the whole optimizer step, so that the sum over its micro-batches and
    workers is the mean over its tokens: every token weighs the same, however tokens are spread.
    Metrics: ``loss``, the negative log-likelihood of each token in nats, [T].
    """
    losses = -token_log_probs
    return losses.sum() / num_targets, {"loss": losses.detach()}
