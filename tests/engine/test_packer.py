# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tadrib.training.engine.packer import best_fit


def packed(*arguments) -> list[list[int]]:
    return [items.tolist() for items in best_fit(*arguments)]


def test_each_item_goes_to_the_fullest_bin_that_takes_it():
    """Sizes 6 5 4 3 2 into bins of 10, longest first: [6], [5], 4 joins 6 (4 free beats 5 free), 3 joins 5 (5 free),
    2 joins 5 + 3 (2 free). Two bins, both full."""
    bins = packed([6, 5, 4, 3, 2], 10, np.arange(5))

    assert bins == [[0, 2], [1, 3, 4]]


@given(sizes=st.lists(st.integers(1, 40), max_size=60), seed=st.integers(0, 5))
def test_every_item_is_packed_once_and_no_bin_overflows(sizes, seed):
    order = np.random.default_rng(seed).permutation(len(sizes))

    bins = packed(sizes, 40, order)

    assert sorted(i for items in bins for i in items) == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in items) <= 40 for items in bins)


def test_only_the_items_of_the_order_are_packed():
    assert packed([3, 3, 3, 3], 6, np.array([3, 1])) == [[3, 1]]


def test_an_item_larger_than_a_bin_is_refused_by_number():
    with pytest.raises(ValueError, match="group 1 has 11 tokens, more than a bin of 10"):
        best_fit([3, 11], 10, np.arange(2))
