# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from tadrib.training.losses.cpo import cpo_loss
from tadrib.training.losses.simpo import simpo_loss
from tests.losses.builders import groups, pairs

# -1 nat a token against -2
PAIR = [torch.tensor([-2.0]), torch.tensor([-8.0])]
LENGTHS = [torch.tensor([2]), torch.tensor([4])]


def pair(chosen=PAIR[0]):
    return pairs(chosen, PAIR[1], None, None, *LENGTHS)


def random_pairs(count: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [*(-20 * torch.rand(2, count, dtype=torch.float64)), *torch.randint(1, 9, (2, count))]


def test_the_loss_compares_log_probs_per_token():
    """beta (-1 + 2) = log 3: log 4/3. Summed log-probs would give beta * 6."""
    loss, _ = simpo_loss(pair(), beta=math.log(3), simpo_gamma=0.0)

    assert loss.item() == pytest.approx(math.log(4 / 3))


def test_gamma_is_taken_off_the_margin_unscaled_by_beta():
    """2 (-1 + 2) - 1 = 1: log(1 + e^-1)."""
    loss, _ = simpo_loss(pair(), beta=2.0, simpo_gamma=1.0)

    assert loss.item() == pytest.approx(math.log1p(math.exp(-1)))


def test_lengths_that_are_missing_fail_at_once_with_their_name():
    with pytest.raises(ValueError, match="this loss needs lengths "):
        simpo_loss(pairs(*PAIR), beta=2.0, simpo_gamma=1.0)


def test_a_margin_of_gamma_costs_log_2():
    loss, _ = simpo_loss(pair(), beta=2.0, simpo_gamma=2.0)

    assert loss.item() == pytest.approx(math.log(2))


def test_rewards_are_per_token_and_leave_gamma_out():
    chosen = PAIR[0].clone().requires_grad_()

    _, metrics = simpo_loss(pair(chosen), beta=2.0, simpo_gamma=5.0)

    assert metrics["rewards/chosen"].tolist() == [-2.0]
    assert metrics["rewards/rejected"].tolist() == [-4.0]
    assert metrics["rewards/margins"].tolist() == [2.0]
    assert metrics["rewards/accuracies"].tolist() == [1.0]
    assert metrics["logps/chosen"].tolist() == [-1.0]
    assert metrics["logps/rejected"].tolist() == [-2.0]
    assert not any(values.requires_grad for values in metrics.values())


def test_it_is_cpo_with_loss_type_simpo_and_without_nll():
    chosen, rejected, *lengths = random_pairs(5)
    same = groups(chosen, rejected, torch.arange(5), torch.ones(5), *lengths, num_groups=5)

    ours, _ = simpo_loss(
        pairs(chosen, rejected, None, None, *lengths, num_pairs=5), beta=2.0, simpo_gamma=0.7
    )
    cpo, _ = cpo_loss(same, beta=2.0, loss_type="simpo", cpo_alpha=0.0, simpo_gamma=0.7)

    assert ours.item() == pytest.approx(cpo.item())


def test_shares_of_a_step_add_up_to_the_loss_of_the_whole():
    chosen, rejected, *lengths = random_pairs(7)
    given = pairs(chosen, rejected, None, None, *lengths, num_pairs=7)
    loss = partial(simpo_loss, beta=2.0, simpo_gamma=1.0)

    whole, metrics = loss(given)
    parts = [
        loss(replace(given, chosen=given.chosen[share], rejected=given.rejected[share]))[0]
        for share in (slice(0, 3), slice(3, 7))
    ]

    assert sum(parts).item() == pytest.approx(whole.item())
    assert metrics["loss"].mean().item() == pytest.approx(whole.item())


def test_gradients_match_finite_differences():
    chosen, rejected, *lengths = random_pairs(4)

    def loss(*values):
        given = pairs(*values, None, None, *lengths, num_pairs=4)
        return simpo_loss(given, beta=2.0, simpo_gamma=1.0)[0]

    assert torch.autograd.gradcheck(loss, [chosen.requires_grad_(), rejected.requires_grad_()])
