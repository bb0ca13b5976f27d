# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from tadrib.training.losses.sft import sft_loss


def test_the_loss_is_the_mean_negative_log_likelihood():
    """p = 1/2, 1/4, 1/8: -(log 1/2 + log 1/4 + log 1/8) / 3 = 6 log 2 / 3 = 2 log 2."""
    log_probs = torch.tensor([0.5, 0.25, 0.125]).log()

    loss, metrics = sft_loss(log_probs, 3)

    assert loss.item() == pytest.approx(2 * math.log(2))
    assert metrics["loss"].tolist() == pytest.approx([math.log(2), 2 * math.log(2), 3 * math.log(2)])


def test_shares_of_a_step_add_up_to_the_loss_of_the_whole():
    log_probs = -torch.rand(10)

    whole, _ = sft_loss(log_probs, 10)
    shares = [sft_loss(part, 10)[0] for part in (log_probs[:3], log_probs[3:])]

    assert sum(shares).item() == pytest.approx(whole.item())
