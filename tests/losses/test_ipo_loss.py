# SPDX-License-Identifier: Apache-2.0
from functools import partial

import pytest
import torch

from tadrib.training.losses.dpo import dpo_loss
from tadrib.training.losses.ipo import answer_lengths, ipo_loss
from tests.losses.builders import pairs

# log-ratios 6 over 2 tokens and -4 over 4 tokens: h = 3 + 1 = 4
PAIR = [torch.tensor([x]) for x in (-3.0, -12.0, -9.0, -8.0)]
LENGTHS = [torch.tensor([2]), torch.tensor([4])]


def random_pairs(count: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    torch.manual_seed(0)
    return list(-20 * torch.rand(4, count, dtype=torch.float64)), list(torch.randint(1, 9, (2, count)))


def test_the_loss_is_the_squared_distance_from_the_target():
    """tau = 1/4 makes the target 2: (4 - 2)^2 = 4."""
    loss, _ = ipo_loss(pairs(*PAIR, *LENGTHS), beta=0.1, tau=0.25)

    assert loss.item() == pytest.approx(4.0)


def test_a_pair_on_target_costs_nothing_and_shows_a_margin_of_beta_over_two_tau():
    """1 / (2 * 0.125) = 4 = h; the rewards are 0.3 * 3 and 0.3 * -1."""
    loss, metrics = ipo_loss(pairs(*PAIR, *LENGTHS), beta=0.3, tau=0.125)

    assert loss.item() == pytest.approx(0.0)
    assert metrics["rewards/chosen"].tolist() == pytest.approx([0.9])
    assert metrics["rewards/rejected"].tolist() == pytest.approx([-0.3])
    assert metrics["rewards/margins"].tolist() == pytest.approx([0.3 / 0.25])
    assert metrics["rewards/accuracies"].tolist() == [1.0]
    assert metrics["logps/chosen"].tolist() == [-3.0]
    assert metrics["logps/rejected"].tolist() == [-12.0]


def test_kl_is_the_fall_of_the_summed_log_probs():
    """Log-ratios 6 and -4 as sums: -(6 - 4) / 2 = -1 nat an answer, whatever the lengths."""
    _, metrics = ipo_loss(pairs(*PAIR, *LENGTHS), beta=0.1, tau=0.25)

    assert metrics["kl"].tolist() == [-1.0]


def test_beta_scales_the_rewards_alone():
    losses = [ipo_loss(pairs(*PAIR, *LENGTHS), beta=beta, tau=0.25)[0].item() for beta in (0.1, 2.0)]

    assert losses[0] == losses[1]


def test_label_smoothing_weighs_the_two_targets():
    """h = 4, t = 2, e = 1/4: 3/4 (4 - 2)^2 + 1/4 (4 + 2)^2 = 3 + 9 = 12."""
    loss, _ = ipo_loss(pairs(*PAIR, *LENGTHS), beta=0.1, tau=0.25, label_smoothing=0.25)

    assert loss.item() == pytest.approx(12.0)


def test_label_smoothing_brings_the_target_nearer():
    """The gradient vanishes at h = (1 - 2 e) t = 0.5 * 8 = 4."""
    chosen = PAIR[0].clone().requires_grad_()

    loss, _ = ipo_loss(pairs(chosen, *PAIR[1:], *LENGTHS), beta=0.1, tau=1 / 16, label_smoothing=0.25)
    loss.backward()

    assert chosen.grad.item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("normalization", "expected"), [("tokens", [2, 4, 5]), ("given", [20, 4, 50]), ("none", [1, 1, 1])]
)
def test_log_ratios_are_divided_by_what_the_config_names(normalization, expected):
    """The second row states no length, so that its tokens stand in."""
    lengths = answer_lengths(normalization, torch.tensor([2, 4, 5]), torch.tensor([20, 0, 50]))

    assert lengths.tolist() == expected


@pytest.mark.parametrize(
    ("given", "missing"), [([*PAIR[:2], None, None, *LENGTHS], "reference"), (PAIR, "lengths")]
)
def test_a_needed_input_that_is_missing_fails_at_once_with_its_name(given, missing):
    with pytest.raises(ValueError, match=rf"this loss needs {missing} "):
        ipo_loss(pairs(*given), beta=0.1, tau=0.25)


def test_without_normalization_the_summed_log_ratios_count():
    """h = 6 + 4 = 10; tau = 1/4: (10 - 2)^2 = 64."""
    ones = [answer_lengths("none", x, torch.zeros_like(x)) for x in LENGTHS]

    loss, _ = ipo_loss(pairs(*PAIR, *ones), beta=0.1, tau=0.25)

    assert loss.item() == pytest.approx(64.0)


def test_dpo_with_loss_type_ipo_is_the_same_loss_with_beta_for_tau():
    log_probs, lengths = random_pairs(6)

    given = pairs(*log_probs, *lengths, num_pairs=6)
    ours, _ = ipo_loss(given, beta=1.0, tau=0.2)
    dpo, _ = dpo_loss(given, beta=0.2, loss_type="ipo")

    assert ours.item() == pytest.approx(dpo.item())


def test_shares_of_a_step_add_up_to_the_loss_of_the_whole():
    log_probs, lengths = random_pairs(7)
    loss = partial(ipo_loss, beta=0.1, tau=0.1, label_smoothing=0.1)

    whole, metrics = loss(pairs(*log_probs, *lengths, num_pairs=7))
    parts = [
        loss(pairs(*(x[share] for x in log_probs + lengths), num_pairs=7))[0]
        for share in (slice(0, 3), slice(3, 7))
    ]

    assert sum(parts).item() == pytest.approx(whole.item())
    assert metrics["loss"].mean().item() == pytest.approx(whole.item())


def test_gradients_match_finite_differences():
    log_probs, lengths = random_pairs(4)

    def loss(*values):
        given = pairs(*values, *lengths, num_pairs=4)
        return ipo_loss(given, beta=0.1, tau=0.3, label_smoothing=0.1)[0]

    assert torch.autograd.gradcheck(loss, [x.requires_grad_() for x in log_probs])
