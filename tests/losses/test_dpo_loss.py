# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from tadrib.training.losses.dpo import dpo_loss
from tadrib.training.losses.margins import margin_losses
from tests.losses.builders import pairs

# log-ratios 3 and -1, so h = 4; the references differ, and so do the two policies
PAIR = [torch.tensor([x]) for x in (-5.0, -7.0, -8.0, -6.0)]
LENGTHS = {"chosen_lengths": torch.tensor([2]), "rejected_lengths": torch.tensor([4])}


def random_pairs(count: int, *, lengths: bool = False) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    log_probs = list(-20 * torch.rand(4, count, dtype=torch.float64))
    given = {name: torch.randint(1, 9, (count,)) for name in LENGTHS} if lengths else {}
    return log_probs, given


def test_the_margin_is_beta_times_the_difference_of_log_ratios():
    """beta h = log 3 makes the win probability 3/4, so the loss is log 4/3."""
    loss, _ = dpo_loss(pairs(*PAIR), beta=math.log(3) / 4)

    assert loss.item() == pytest.approx(math.log(4 / 3))


def test_kl_is_minus_the_mean_log_ratio_of_the_two_answers():
    """Log-ratios 3 and -1: -(3 - 1) / 2 = -1 nat an answer."""
    _, metrics = dpo_loss(pairs(*PAIR), beta=0.1)

    assert metrics["kl"].tolist() == [-1.0]


@pytest.mark.parametrize(
    ("loss_type", "label_smoothing", "expected"),
    [
        # m = log 3: -log sigmoid(m) = log 4/3 and -log sigmoid(-m) = log 4
        ("sigmoid", 0.25, 0.75 * math.log(4 / 3) + 0.25 * math.log(4)),
        ("robust", 0.25, (0.75 * math.log(4 / 3) - 0.25 * math.log(4)) / 0.5),
        ("robust", 0.0, math.log(4 / 3)),
        # m = 1.0986: the hinge is flat above 1; flipped labels cost 1 + m
        ("hinge", 0.0, 0.0),
        ("hinge", 0.25, 0.25 * (1 + math.log(3))),
    ],
)
def test_each_loss_type_has_its_closed_form(loss_type, label_smoothing, expected):
    loss, _ = dpo_loss(
        pairs(*PAIR), beta=math.log(3) / 4, loss_type=loss_type, label_smoothing=label_smoothing
    )

    assert loss.item() == pytest.approx(expected, abs=1e-7)


def test_the_hinge_charges_the_missing_part_of_the_margin():
    """beta h = 0.2 * 4 = 0.8 misses 1 by 0.2."""
    loss, _ = dpo_loss(pairs(*PAIR), beta=0.2, loss_type="hinge")

    assert loss.item() == pytest.approx(0.2)


def test_ipo_averages_log_ratios_per_token_and_takes_beta_as_tau():
    """h = 3/2 + 1/4 = 1.75; the target is 1 / (2 * 0.4) = 1.25; the square of 0.5 is 0.25."""
    loss, metrics = dpo_loss(pairs(*PAIR, **LENGTHS), beta=0.4, loss_type="ipo")

    assert loss.item() == pytest.approx(0.25)
    assert metrics["rewards/margins"].tolist() == pytest.approx([0.4 * 4])  # of summed log-ratios


@pytest.mark.parametrize(
    ("given", "setting", "missing"),
    [
        (PAIR[:2], {}, "reference"),
        (PAIR, {"loss_type": "ipo"}, "lengths"),
        (PAIR, {"sft_weight": 0.5}, "num_chosen_tokens"),
    ],
)
def test_a_needed_input_that_is_missing_fails_at_once_with_its_name(given, setting, missing):
    with pytest.raises(ValueError, match=rf"this loss needs {missing} \(.*\), found None"):
        dpo_loss(pairs(*given), beta=0.4, **setting)


def test_inputs_of_unequal_numbers_are_refused_where_they_would_be_broadcast():
    with pytest.raises(ValueError, match=r"reference has shape \[1\] and log_probs has \[2\]"):
        pairs(torch.zeros(2), torch.zeros(2), torch.zeros(1), torch.zeros(2))
    with pytest.raises(ValueError, match=r"rejected has shape \[1\] and chosen has \[2\]"):
        pairs(torch.zeros(2), torch.zeros(1))


def test_the_sft_term_is_the_mean_over_all_chosen_tokens_of_the_step():
    """Two chosen answers of 2 and 8 tokens: (4 + 12) / 10 = 1.6 nats a token, not the mean of 2 and 1.5."""
    chosen, other = torch.tensor([-4.0, -12.0]), torch.zeros(2)

    given = pairs(chosen, other, other, other, num_pairs=2, num_chosen_tokens=10)
    plain, _ = dpo_loss(given, beta=0.1)
    loss, metrics = dpo_loss(given, beta=0.1, sft_weight=0.5)

    assert (loss - plain).item() == pytest.approx(0.5 * 1.6)
    assert metrics["loss"].mean().item() == pytest.approx(loss.item())


def test_the_metrics_say_what_happened_to_every_pair():
    chosen = torch.tensor([-5.0, -9.0, -4.0], requires_grad=True)
    rejected = torch.tensor([-7.0, -6.0, -4.0], requires_grad=True)
    ref_chosen, ref_rejected = torch.tensor([-8.0, -8.0, -4.0]), torch.tensor([-6.0, -7.0, -4.0])

    _, metrics = dpo_loss(pairs(chosen, rejected, ref_chosen, ref_rejected, num_pairs=3), beta=0.5)

    assert metrics["rewards/chosen"].tolist() == [1.5, -0.5, 0.0]
    assert metrics["rewards/rejected"].tolist() == [-0.5, 0.5, 0.0]
    assert metrics["rewards/margins"].tolist() == [2.0, -1.0, 0.0]
    assert metrics["rewards/accuracies"].tolist() == [1.0, 0.0, 0.5]
    assert metrics["logps/chosen"].tolist() == [-5.0, -9.0, -4.0]
    assert metrics["logps/rejected"].tolist() == [-7.0, -6.0, -4.0]
    assert metrics["loss"].tolist() == pytest.approx([0.126928, 1.313262, math.log(2)])
    assert not any(values.requires_grad for values in metrics.values())


def test_a_policy_equal_to_its_reference_starts_at_log_2():
    log_probs, _ = random_pairs(5)

    loss, _ = dpo_loss(pairs(*log_probs[:2], *log_probs[:2], num_pairs=5), beta=0.1)

    assert loss.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss_type", ["sigmoid", "robust", "hinge"])
def test_margins_far_beyond_the_range_of_exp_keep_finite_losses_and_gradients(loss_type):
    margins = torch.tensor([-1e4, 1e4], requires_grad=True)

    losses = margin_losses(margins, loss_type, 0.0)
    losses.sum().backward()

    assert losses.tolist() == pytest.approx([1e4, 0.0], rel=2e-4)
    assert margins.grad.tolist() == [-1.0, 0.0]


def test_robust_is_unbiased_under_flipped_labels():
    """With labels flipped at rate e, the expectation of the robust loss is the clean sigmoid loss."""
    margins, rate = torch.linspace(-3, 3, 7), 0.2

    robust = partial(margin_losses, loss_type="robust", label_smoothing=rate)
    expectation = (1 - rate) * robust(margins) + rate * robust(-margins)

    assert expectation.tolist() == pytest.approx(margin_losses(margins, "sigmoid").tolist(), abs=1e-6)


@pytest.mark.parametrize("loss_type", ["sigmoid", "hinge", "robust", "ipo"])
def test_shares_of_a_step_add_up_to_the_loss_of_the_whole(loss_type):
    log_probs, lengths = random_pairs(7, lengths=True)
    given = pairs(*log_probs, **lengths, num_pairs=7, num_chosen_tokens=29)
    loss = partial(dpo_loss, beta=0.1, loss_type=loss_type, sft_weight=0.3)

    whole, metrics = loss(given)
    parts = [
        loss(replace(given, chosen=given.chosen[share], rejected=given.rejected[share]))[0]
        for share in (slice(0, 2), slice(2, 7))
    ]

    assert sum(parts).item() == pytest.approx(whole.item())
    assert metrics["loss"].mean().item() == pytest.approx(whole.item())


@pytest.mark.parametrize(
    ("loss_type", "label_smoothing"),
    [("sigmoid", 0.0), ("sigmoid", 0.1), ("robust", 0.1), ("hinge", 0.0), ("ipo", 0.0)],
)
def test_gradients_match_finite_differences(loss_type, label_smoothing):
    log_probs, lengths = random_pairs(4, lengths=True)

    def loss(*values):
        return dpo_loss(
            pairs(*values, **lengths, num_pairs=4, num_chosen_tokens=11),
            beta=0.1,
            loss_type=loss_type,
            label_smoothing=label_smoothing,
            sft_weight=0.3,
        )[0]

    assert torch.autograd.gradcheck(loss, [x.requires_grad_() for x in log_probs])


def test_a_step_lifts_the_chosen_answer_and_lowers_the_rejected_one():
    chosen, rejected = torch.tensor([-5.0], requires_grad=True), torch.tensor([-5.0], requires_grad=True)

    loss, _ = dpo_loss(pairs(chosen, rejected, torch.tensor([-5.0]), torch.tensor([-5.0])), beta=0.2)
    loss.backward()

    assert chosen.grad.item() == pytest.approx(-0.1)  # -beta (1 - sigmoid(0))
    assert rejected.grad.item() == pytest.approx(0.1)
