# SPDX-License-Identifier: Apache-2.0
import math
from functools import partial

import pytest
import torch

from tadrib.training.losses.kto import kl_estimate, kto_loss
from tests.losses.builders import judged

# log-ratios 3 and -1
POLICY, REFERENCE = torch.tensor([-5.0, -7.0]), torch.tensor([-8.0, -6.0])
LABELS = torch.tensor([True, False])


def test_each_label_has_its_closed_form():
    """beta = log(3) / 2, kl = 1: beta (3 - 1) and beta (1 + 1) are both log 3: 1 - 3/4 = 1/4."""
    loss, metrics = kto_loss(judged(POLICY, REFERENCE, LABELS, 2), torch.tensor(1.0), beta=math.log(3) / 2)

    assert metrics["loss"].tolist() == pytest.approx([0.25, 0.25])
    assert loss.item() == pytest.approx(0.25)


def test_the_other_label_turns_the_loss_around():
    """The same log-ratios judged the other way: 1 - sigmoid(-log 3) = 3/4 for both."""
    _, metrics = kto_loss(judged(POLICY, REFERENCE, ~LABELS, 2), torch.tensor(1.0), beta=math.log(3) / 2)

    assert metrics["loss"].tolist() == pytest.approx([0.75, 0.75])


def test_each_label_has_its_own_weight():
    _, metrics = kto_loss(
        judged(POLICY, REFERENCE, LABELS, 2),
        torch.tensor(1.0),
        beta=math.log(3) / 2,
        desirable_weight=2.0,
        undesirable_weight=3.0,
    )

    assert metrics["loss"].tolist() == pytest.approx([0.5, 0.75])


def test_rewards_are_told_apart_by_label_and_judged_against_the_baseline():
    """Log-ratios 3, -1, 0.5, 2 against kl 1: the third, desirable, is below it; the fourth above."""
    policy = torch.tensor([-5.0, -7.0, -4.0, -3.0])
    reference = torch.tensor([-8.0, -6.0, -4.5, -5.0])
    labels = torch.tensor([True, False, True, False])

    _, metrics = kto_loss(judged(policy, reference, labels, 4), torch.tensor(1.0), beta=2.0)

    assert metrics["rewards/chosen"].tolist() == [6.0, 1.0]
    assert metrics["rewards/rejected"].tolist() == [-2.0, 4.0]
    assert metrics["rewards/accuracies"].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert metrics["logps/chosen"].tolist() == [-5.0, -4.0]
    assert metrics["logps/rejected"].tolist() == [-7.0, -3.0]
    assert metrics["kl"].tolist() == [1.0] * 4


def test_a_missing_reference_fails_at_once_with_its_name():
    with pytest.raises(ValueError, match="this loss needs reference "):
        kto_loss(judged(POLICY, None, LABELS, 2), torch.tensor(0.0), beta=0.1)


def test_a_batch_of_one_label_has_no_values_of_the_other():
    answers = judged(POLICY, REFERENCE, torch.tensor([True, True]), 2)
    _, metrics = kto_loss(answers, torch.tensor(0.0), beta=0.1)

    assert metrics["rewards/rejected"].shape == (0,)
    assert metrics["logps/rejected"].shape == (0,)


def test_the_baseline_is_the_mean_log_ratio_of_mismatched_answers_and_never_negative():
    assert kl_estimate(torch.tensor(6.0), 4).item() == 1.5
    assert kl_estimate(torch.tensor(-6.0), torch.tensor(4)).item() == 0.0


def test_no_gradient_flows_through_the_baseline():
    log_ratios = torch.tensor([1.0, 3.0], requires_grad=True)

    assert not kl_estimate(log_ratios.sum(), 2).requires_grad


def test_the_loss_saturates_at_the_weight_without_overflow():
    policy = torch.tensor([-1e4, 1e4], requires_grad=True)

    answers = judged(policy, torch.zeros(2), torch.tensor([True, True]), 2)
    loss, metrics = kto_loss(answers, torch.tensor(0.0), beta=1.0)
    loss.backward()

    assert metrics["loss"].tolist() == [1.0, 0.0]
    assert not any(values.requires_grad for values in metrics.values())
    assert policy.grad.tolist() == [0.0, 0.0]


def test_shares_of_a_step_add_up_to_the_loss_of_the_whole():
    torch.manual_seed(0)
    policy, reference, labels = -20 * torch.rand(7), -20 * torch.rand(7), torch.rand(7) > 0.5
    loss = partial(kto_loss, kl=torch.tensor(0.3), beta=0.1, undesirable_weight=1.5)

    whole, metrics = loss(judged(policy, reference, labels, 7))
    parts = [loss(judged(policy[s], reference[s], labels[s], 7))[0] for s in (slice(0, 3), slice(3, 7))]

    assert sum(parts).item() == pytest.approx(whole.item())
    assert metrics["loss"].mean().item() == pytest.approx(whole.item())


def test_gradients_match_finite_differences():
    torch.manual_seed(0)
    policy, reference = (-20 * torch.rand(4, dtype=torch.float64) for _ in range(2))
    labels, kl = torch.tensor([True, False, True, False]), torch.tensor(0.5, dtype=torch.float64)

    def loss(*values):
        return kto_loss(judged(*values, labels, 4), kl, beta=0.1, desirable_weight=0.5)[0]

    assert torch.autograd.gradcheck(loss, [policy.requires_grad_(), reference.requires_grad_()])


def test_a_step_lifts_a_desirable_answer_and_lowers_an_undesirable_one():
    policy = torch.tensor([-5.0, -5.0], requires_grad=True)

    answers = judged(policy, torch.full((2,), -5.0), LABELS, 1)
    loss, _ = kto_loss(answers, torch.tensor(0.0), beta=0.2)
    loss.backward()

    assert policy.grad.tolist() == pytest.approx([-0.05, 0.05])  # beta sigmoid(0) (1 - sigmoid(0))
