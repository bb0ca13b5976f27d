# SPDX-License-Identifier: Apache-2.0
"""Merge methods against arithmetic done by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import tensor

from tadrib.training.model.merger.methods import dropped, linear, slerp_coefficients, task_arithmetic, ties
from tadrib.training.model.merger.trimming import Trim
from tadrib.training.model.weight_files.rounding import Stochastic, Survival, nearest, seeded


def trimmed(values: torch.Tensor, density: float, size: int = 3) -> torch.Tensor:
    """`Trim` of a vector in blocks of ``size``."""
    parts = values.split(size)
    trim = Trim(lambda: iter(parts), values.numel(), density)
    return torch.cat([trim(part) for part in parts])


def test_linear_divides_by_the_sum_of_the_weights():
    """(1 * 2 + 3 * 6) / (1 + 3) = 5, and 20 without the division."""
    models = [tensor([2.0]), tensor([6.0])]
    assert linear(models, [1, 3]).item() == 5
    assert linear(models, [1, 3], normalize=False).item() == 20


def test_weights_that_add_up_to_zero_are_refused():
    with pytest.raises(ValueError, match="add up to 0"):
        linear([tensor([2.0]), tensor([6.0])], [1, -1])


def test_task_arithmetic_adds_weighted_deltas():
    """10 + 2 * (0.5 * 1 + 0.25 * 4) = 13; normalized 10 + 2 * 1.5 / 0.75 = 14."""
    base, deltas = tensor([10.0]), [tensor([1.0]), tensor([4.0])]
    assert task_arithmetic(base, deltas, [0.5, 0.25], scale=2).item() == 13
    assert task_arithmetic(base, deltas, [0.5, 0.25], scale=2, normalize=True).item() == 14


def test_ties_adds_up_what_agrees_with_the_elected_sign():
    """Entries of two deltas with weights 1 and 2, on a base of 10.

    - (3, 1): sum 3 + 2 = 5, sign +; both agree: (3 + 2) / (1 + 2) = 5/3.
    - (3, -1): 3 - 2 = 1, sign +; the first alone: 3 / 1 = 3.
    - (1, -2): 1 - 4 = -3, sign -; the second alone: -4 / 2 = -2.
    - (2, -1): 2 - 2 = 0 counts as +; the first alone: 2.
    - (0, 0): nothing has a sign, so the base stays.
    """
    deltas = [tensor([3.0, 3, 1, 2, 0]), tensor([1.0, -1, -2, -1, 0])]
    found = ties(torch.full((5,), 10.0), deltas, [1, 2])
    torch.testing.assert_close(found, tensor([10 + 5 / 3, 13, 8, 12, 10]))
    unnormalized = ties(torch.full((5,), 10.0), deltas, [1, 2], normalize=False, scale=0.5)
    torch.testing.assert_close(unnormalized, tensor([12.5, 11.5, 8, 11, 10]))


def test_trim_keeps_the_largest_magnitudes():
    """40 % of 5 entries are 2: -5 and 4."""
    assert trimmed(tensor([1.0, -5, 2, 4, 3]), 0.4).tolist() == [0, -5, 0, 4, 0]


def test_trim_keeps_the_first_of_equal_magnitudes_across_blocks():
    """Half of 8 entries are 4: the 3, then the first three of the magnitude 1."""
    assert trimmed(tensor([1.0, -1, 0, 1, 3, 1, 1, 1]), 0.5).tolist() == [1, -1, 0, 1, 3, 0, 0, 0]


def test_trim_keeps_one_entry_at_least_and_all_with_density_1():
    assert trimmed(tensor([1.0, 2, 3]), 0.01).tolist() == [0, 0, 3]
    assert trimmed(tensor([1.0, 0, 3]), 1.0).tolist() == [1, 0, 3]
    assert trimmed(torch.zeros(4), 0.5).tolist() == [0, 0, 0, 0]


def test_trim_agrees_with_sorting():
    values = torch.randn(100_003, generator=seeded(0, "trim"))
    found = trimmed(values, 0.2, size=1_000)
    kept = values.abs().sort(descending=True).indices[: int(0.2 * 100_003)]
    expected = torch.zeros_like(values)
    expected[kept] = values[kept]
    assert torch.equal(found, expected)


def test_dare_has_the_expectation_of_its_paper():
    """Of 200,000 entries of 1, a share p = 0.9 is dropped and the others are 1 / 0.1 = 10: the mean is 1, with a
    standard error of sqrt(0.9 / 0.1 / 200,000) = 0.0067. Without rescaling the mean is 0.1."""
    ones = torch.ones(200_000)
    found = dropped(ones, 0.1, seeded(0, "dare"))
    assert set(found.unique().tolist()) == {0, 10}
    assert abs(found.mean().item() - 1) < 5 * 0.0067
    assert abs(dropped(ones, 0.1, seeded(0, "dare"), rescale=False).mean().item() - 0.1) < 0.005
    assert torch.equal(dropped(ones, 1.0, seeded(0, "dare")), ones)


def test_slerp_halfway_between_perpendicular_vectors():
    """The angle is 90 degrees: both coefficients are sin 45 / sin 90 = 0.7071; at t = 1/3 sin 60 and sin 30."""
    assert slerp_coefficients(0.5, 0.0, (1, 1)) == pytest.approx((math.sqrt(0.5),) * 2)
    assert slerp_coefficients(1 / 3, 0.0, (2, 5)) == pytest.approx((math.sqrt(3) / 2, 0.5))


def test_all_methods_give_what_mergekit_0_1_5_gave():
    """Numbers that mergekit 0.1.5 computed from these three matrices, so that parity is held where it is not installed
    (`tests/merger/test_mergekit.py` is the rest): weights 0.7 and 0.6, t = 0.3, densities 0.5 and 0.7."""
    base, a, b = (
        tensor(rows)
        for rows in (
            [[1.0, 2, -1], [0.5, -2, 3]],
            [[1.5, 1, -1.25], [-0.5, -2.5, 3.75]],
            [[0.0, 2.5, 1], [1.5, -1, 2.75]],
        )
    )
    weights, deltas = [0.7, 0.6], [a - base, b - base]

    def turned(t: float, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        left, right = slerp_coefficients(t, float((x * y).sum()), (float(x.norm()), float(y.norm())))
        return left * x + right * y

    def trims(delta: torch.Tensor, density: float) -> torch.Tensor:
        return trimmed(delta.reshape(-1), density).reshape(delta.shape)

    found = {
        "slerp": turned(0.3, base, b),
        "nuslerp": base + turned(0.6 / 1.3, *deltas),
        "ties": ties(base, [trims(*each) for each in zip(deltas, (0.5, 0.7), strict=True)], weights),
        "task_arithmetic": task_arithmetic(base, deltas, weights, scale=0.8),
    }
    expected = {
        "slerp": [[0.72500902, 2.24822211, -0.40572739], [0.84142697, -1.76929975, 3.05305171]],
        "nuslerp": [[0.46250921, 1.31730318, 1.02642369], [0.40319598, -1.46250916, 3.65849590]],
        "ties": [[0.0, 1.0, 1.0], [-0.5, -1.0, 3.75]],
        "task_arithmetic": [[0.8, 1.68, -0.18], [0.42, -1.8, 3.3]],
    }
    for name, rows in expected.items():
        torch.testing.assert_close(found[name], tensor(rows), rtol=1e-6, atol=1e-6)


def test_slerp_of_parallel_and_of_zero_vectors_is_linear():
    """Rounding can take a cosine to 1.00019, of which acos is NaN."""
    assert slerp_coefficients(0.25, 1.00019, (1, 1)) == (0.75, 0.25)
    assert slerp_coefficients(0.25, 0.0, (0, 3)) == (0.75, 0.25)
    assert slerp_coefficients(0.25, 0.0, (0, 0)) == (0.75, 0.25)


def test_slerp_of_opposite_vectors_is_refused():
    with pytest.raises(ValueError, match=r"opposite directions \(cosine -1.00000\)"):
        slerp_coefficients(0.5, -6.0, (2, 3))


def test_survival_of_a_change_that_is_rounded_away_or_up():
    """Between 1 and 2 bfloat16 has steps of 2^-7. From 1, a change of 2^-9 is a quarter of one and vanishes; 3/4 of a
    step becomes a whole one. With d = (1/4, 3/4) and r - w = (0, 1) steps: kept = (3/4) / (10/16) = 1.2, error =
    sqrt((1/16 + 1/16) / (10/16)) = sqrt(0.2)."""
    step, before = 2**-7, torch.ones(2)
    after = before + step * tensor([0.25, 0.75])
    found = Survival("w")
    found.add(before, after, nearest(after, torch.bfloat16))
    assert (found.share, found.error) == pytest.approx((1.2, math.sqrt(0.2)))


def test_stochastic_rounding_keeps_the_expectation():
    """A quarter of a step survives as a quarter of the entries going up by one: mean 0.25 of 100,000, with a standard
    error of sqrt(0.25 * 0.75 / 100,000) = 0.0014. Exact values stay, and the same seed gives the same."""
    step = 2**-7
    block = torch.full((100_000,), 1 + step / 4)
    found = Stochastic(1, "w")(block, torch.bfloat16)
    assert abs(((found.float() - 1) / step).mean().item() - 0.25) < 5 * 0.0014
    assert torch.equal(found, Stochastic(1, "w")(block, torch.bfloat16))
    assert not torch.equal(found, Stochastic(1, "v")(block, torch.bfloat16))
    exact = tensor([1.0, -1.0, -0.0, 3.5])
    assert torch.equal(Stochastic(1, "w")(exact, torch.bfloat16).float(), exact)
