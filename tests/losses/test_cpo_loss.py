# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from tadrib.training.losses.cpo import cpo_loss
from tests.losses.builders import groups as groups_of

BOTH = pytest.mark.parametrize("multi_negative", ["pairwise", "softmax"])
LOSS_TYPES = pytest.mark.parametrize("loss_type", ["sigmoid", "hinge", "simpo"])
SOFTPLUS_1, SOFTPLUS_2 = math.log1p(math.exp(-1)), math.log1p(math.exp(-2))

# beta 0.5: margins 1 and 2 in the first group, -1 in the second; the first two weights differ
CHOSEN = torch.tensor([-2.0, -6.0])
NEGATIVES = torch.tensor([-4.0, -6.0, -4.0])
GROUPS = torch.tensor([0, 0, 1])
WEIGHTS = torch.tensor([1.0, 3.0, 1.0])


def preference(chosen, negatives, groups, weights, lengths=(), **settings):
    """The preference term of every group, [G]."""
    given = groups_of(chosen, negatives, groups, weights, *lengths)
    return cpo_loss(given, **{"beta": 0.5, "cpo_alpha": 0.0} | settings)[1]["loss"]


def random_groups(sizes: list[int], dtype=torch.float64) -> tuple[torch.Tensor, ...]:
    groups = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    torch.manual_seed(0)
    chosen, negatives = -20 * torch.rand(len(sizes), dtype=dtype), -20 * torch.rand(sum(sizes), dtype=dtype)
    return chosen, negatives, groups, torch.ones(sum(sizes), dtype=dtype)


def test_one_negative_is_the_sigmoid_loss_of_the_margin():
    """beta (c - r) = log 3: log 4/3."""
    losses = preference(
        torch.tensor([-2.0]), torch.tensor([-4.0]), torch.tensor([0]), torch.ones(1), beta=math.log(3) / 2
    )

    assert losses.tolist() == pytest.approx([math.log(4 / 3)])


def test_pairwise_is_the_weighted_mean_of_a_group_s_pairs():
    """Margins 1 and 2 of weights 1 and 3: (log(1 + e^-1) + 3 log(1 + e^-2)) / 4; -1: 1 + log(1 + e^-1)."""
    losses = preference(CHOSEN, NEGATIVES, GROUPS, WEIGHTS)

    assert losses.tolist() == pytest.approx([(SOFTPLUS_1 + 3 * SOFTPLUS_2) / 4, 1 + SOFTPLUS_1])


def test_softmax_is_one_contrastive_term_over_all_candidates():
    """-log(e^-1 / (e^-1 + e^-2 + 3 e^-3)) = log(1 + e^-1 + 3 e^-2), for c = -2, r = -4 and -6, beta 0.5."""
    losses = preference(CHOSEN, NEGATIVES, GROUPS, WEIGHTS, multi_negative="softmax")

    expected = math.log(1 + math.exp(-1) + 3 * math.exp(-2))
    assert losses.tolist() == pytest.approx([expected, 1 + SOFTPLUS_1])


@BOTH
def test_the_hinge_charges_the_missing_part_of_the_margin(multi_negative):
    """Margins 0.4 and -1: 0.6 and 2."""
    losses = preference(
        torch.tensor([-2.0, -6.0]),
        torch.tensor([-2.8, -4.0]),
        torch.tensor([0, 1]),
        torch.ones(2),
        loss_type="hinge",
        multi_negative=multi_negative,
    )

    assert losses.tolist() == pytest.approx([0.6, 2.0])


@BOTH
def test_simpo_compares_log_probs_per_token_and_takes_gamma_off(multi_negative):
    """2 (-2/2 + 8/4) - 1 = 1: log(1 + e^-1)."""
    losses = preference(
        torch.tensor([-2.0]),
        torch.tensor([-8.0]),
        torch.tensor([0]),
        torch.ones(1),
        (torch.tensor([2]), torch.tensor([4])),
        beta=2.0,
        loss_type="simpo",
        simpo_gamma=1.0,
        multi_negative=multi_negative,
    )

    assert losses.tolist() == pytest.approx([SOFTPLUS_1])


def test_gamma_plays_no_part_without_simpo():
    assert torch.equal(
        preference(CHOSEN, NEGATIVES, GROUPS, WEIGHTS, simpo_gamma=5.0),
        preference(CHOSEN, NEGATIVES, GROUPS, WEIGHTS),
    )


def test_simpo_without_lengths_fails_at_once_with_their_name():
    with pytest.raises(ValueError, match="this loss needs lengths "):
        preference(CHOSEN, NEGATIVES, GROUPS, WEIGHTS, loss_type="simpo")


def test_label_smoothing_mixes_in_the_flipped_label():
    """-log sigmoid(-1) = 1 + log(1 + e^-1)."""
    losses = preference(CHOSEN[:1], NEGATIVES[:1], GROUPS[:1], WEIGHTS[:1], label_smoothing=0.2)

    assert losses.tolist() == pytest.approx([0.8 * SOFTPLUS_1 + 0.2 * (1 + SOFTPLUS_1)])


def test_the_nll_term_is_the_mean_over_all_chosen_tokens_of_the_step():
    """Chosen answers of -2 and -6 nats over 2 and 3 tokens: 8 / 5 nats a token, not the mean of 1 and 2."""
    given = groups_of(CHOSEN, NEGATIVES, GROUPS, WEIGHTS, num_groups=2, num_chosen_tokens=5)
    loss, metrics = cpo_loss(given, beta=0.5, cpo_alpha=0.5)

    assert metrics["nll_loss"].mean().item() == pytest.approx(8 / 5)
    preferences = ((SOFTPLUS_1 + 3 * SOFTPLUS_2) / 4 + 1 + SOFTPLUS_1) / 2
    assert loss.item() == pytest.approx(preferences + 0.5 * 8 / 5)
    assert metrics["loss"].mean().item() == pytest.approx(loss.item())


@LOSS_TYPES
def test_pairwise_with_many_negatives_is_the_mean_of_as_many_separate_losses(loss_type):
    chosen, negatives, groups, weights = random_groups([4], dtype=torch.float32)
    tokens, lengths = torch.tensor([7]), torch.tensor([3, 9, 1, 5])
    loss = partial(cpo_loss, beta=0.1, loss_type=loss_type, simpo_gamma=0.5)
    given = groups_of(chosen, negatives, groups, weights, tokens, lengths, num_chosen_tokens=7)
    apart = [
        replace(
            given,
            negatives=given.negatives[j : j + 1],
            group_of_negative=groups[:1],
            weights=weights[:1],
        )
        for j in range(4)
    ]

    together, _ = loss(given)
    separate = [loss(each)[0] for each in apart]

    assert together.item() == pytest.approx(sum(separate).item() / 4, abs=1e-6)


@LOSS_TYPES
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_softmax_with_one_negative_is_the_pairwise_loss(loss_type, label_smoothing):
    chosen, negatives, groups, weights = random_groups([1] * 8, dtype=torch.float32)
    lengths = torch.arange(1, 9), torch.arange(8, 0, -1)
    loss = partial(
        preference, loss_type=loss_type, label_smoothing=label_smoothing, simpo_gamma=0.5, lengths=lengths
    )

    softmax = loss(chosen, negatives, groups, weights, multi_negative="softmax")

    assert softmax.tolist() == loss(chosen, negatives, groups, weights).tolist()


def test_softmax_grows_with_every_negative_and_pairwise_does_not():
    one = CHOSEN[:1], NEGATIVES[:1], GROUPS[:1], torch.ones(1)
    three = CHOSEN[:1], NEGATIVES[:1].repeat(3), GROUPS[:1].repeat(3), torch.ones(3)

    assert preference(*three).item() == pytest.approx(preference(*one).item())
    assert preference(*three, multi_negative="softmax").item() == pytest.approx(
        math.log(1 + 3 * math.exp(-1))
    )


@BOTH
def test_a_weight_of_zero_leaves_the_negative_out(multi_negative):
    with_it = preference(
        CHOSEN[:1], NEGATIVES[:2], GROUPS[:2], torch.tensor([1.0, 0.0]), multi_negative=multi_negative
    )
    without = preference(CHOSEN[:1], NEGATIVES[:1], GROUPS[:1], torch.ones(1), multi_negative=multi_negative)

    assert with_it.tolist() == without.tolist()


@BOTH
def test_a_group_without_weight_has_its_nll_alone_and_finite_gradients(multi_negative):
    chosen, negatives = CHOSEN.clone().requires_grad_(), NEGATIVES.clone().requires_grad_()

    given = groups_of(
        chosen, negatives, GROUPS, torch.tensor([0.0, 0.0, 1.0]), num_groups=2, num_chosen_tokens=2
    )
    loss, metrics = cpo_loss(given, beta=0.5, label_smoothing=0.25, multi_negative=multi_negative)
    loss.backward()

    assert metrics["loss"].tolist() == pytest.approx([2.0, 0.75 * (1 + SOFTPLUS_1) + 0.25 * SOFTPLUS_1 + 6])
    assert chosen.grad[0].item() == pytest.approx(-0.5)
    assert negatives.grad[:2].tolist() == [0.0, 0.0]


@BOTH
def test_log_probs_far_beyond_the_range_of_exp_keep_finite_losses_and_gradients(multi_negative):
    chosen = torch.tensor([-1e4, -1.0], requires_grad=True)
    negatives = torch.tensor([-1.0, -2e4, -1e4], requires_grad=True)

    given = groups_of(chosen, negatives, GROUPS, torch.ones(3), num_groups=2)
    loss, metrics = cpo_loss(given, beta=1.0, cpo_alpha=0.0, multi_negative=multi_negative)
    loss.backward()

    first = 9999.0 if multi_negative == "softmax" else 9999.0 / 2
    assert metrics["loss"].tolist() == pytest.approx([first, 0.0])
    assert chosen.grad.isfinite().all()
    assert negatives.grad.isfinite().all()


def test_metrics_count_every_pair_of_a_group():
    chosen, negatives = CHOSEN.clone().requires_grad_(), NEGATIVES.clone().requires_grad_()

    given = groups_of(chosen, negatives, GROUPS, WEIGHTS, num_groups=2, num_chosen_tokens=5)
    _, metrics = cpo_loss(given, beta=0.5)

    assert metrics["rewards/chosen"].tolist() == [-1.0, -1.0, -3.0]
    assert metrics["rewards/rejected"].tolist() == [-2.0, -3.0, -2.0]
    assert metrics["rewards/margins"].tolist() == [1.0, 2.0, -1.0]
    assert metrics["rewards/accuracies"].tolist() == [1.0, 1.0, 0.0]
    assert metrics["logps/chosen"].tolist() == [-2.0, -6.0]
    assert metrics["logps/rejected"].tolist() == [-4.0, -6.0, -4.0]
    assert not any(values.requires_grad for values in metrics.values())


@BOTH
def test_shares_of_a_step_add_up_to_the_loss_of_the_whole(multi_negative):
    chosen, negatives, groups, weights = random_groups([2, 1, 3])
    share = partial(groups_of, num_groups=3, num_chosen_tokens=17)
    loss = partial(cpo_loss, beta=0.1, multi_negative=multi_negative)

    whole, metrics = loss(share(chosen, negatives, groups, weights))
    first, _ = loss(share(chosen[:1], negatives[:2], groups[:2], weights[:2]))
    rest, _ = loss(share(chosen[1:], negatives[2:], groups[2:] - 1, weights[2:]))

    assert (first + rest).item() == pytest.approx(whole.item())
    assert metrics["loss"].mean().item() == pytest.approx(whole.item())


@BOTH
@LOSS_TYPES
def test_gradients_match_finite_differences(multi_negative, loss_type):
    chosen, negatives, groups, weights = random_groups([2, 1, 3])
    weights = weights * torch.tensor([1, 2, 1, 1, 0.5, 1])
    lengths = torch.tensor([3, 5, 2]), torch.tensor([1, 2, 3, 4, 5, 6])

    def loss(*values):
        return cpo_loss(
            groups_of(*values, groups, weights, *lengths, num_groups=3, num_chosen_tokens=10),
            beta=0.3,
            loss_type=loss_type,
            multi_negative=multi_negative,
            label_smoothing=0.1,
            simpo_gamma=0.5,
        )[0]

    assert torch.autograd.gradcheck(loss, [chosen.requires_grad_(), negatives.requires_grad_()])
