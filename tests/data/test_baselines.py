# SPDX-License-Identifier: Apache-2.0
import time

import numpy as np
import pytest

from tadrib.training.data.baselines import donors
from tadrib.training.data.blocks.index import index_table
from tadrib.training.data.group import Completion, Group
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.data.selection import Selection


def groups(prompts: list[int]) -> list[Group]:
    return [
        Group([p, p], [Completion([100 + i] * 6, "completion")], i, label=True) for i, p in enumerate(prompts)
    ]


def with_baselines(groups: list[Group], seed: int, longest: int) -> list[Group]:
    selection = Selection.of(index_table([(0, 0, True)] * len(groups), groups))
    dataset = selection.judged_dataset(GroupDataset.from_groups(groups).blocks, seed, longest)
    paired = list(dataset)
    assert dataset.num_tokens.tolist() == [group.num_tokens for group in paired]
    assert dataset.counts.tolist() == [list(group.counts) for group in paired]
    return paired


def baseline(group: Group) -> list[int]:
    answer, other = group.completions
    assert (answer.role, other.role) == ("completion", "kl")
    return other.tokens


def test_every_row_gets_the_answer_of_a_row_with_another_prompt():
    paired = with_baselines(groups([1, 1, 1, 2, 2, 3]), seed=0, longest=100)

    donors = [baseline(group)[0] - 100 for group in paired]
    assert all(paired[donor].prompt != group.prompt for donor, group in zip(donors, paired, strict=True))


def test_distinct_prompts_are_paired_one_to_one():
    paired = with_baselines(groups(list(range(20))), seed=3, longest=100)

    assert sorted(baseline(group)[0] - 100 for group in paired) == list(range(20))


def test_the_seed_decides_the_pairs():
    drawn = [[baseline(g) for g in with_baselines(groups(list(range(20))), seed, 100)] for seed in (0, 0, 1)]

    assert drawn[0] == drawn[1] != drawn[2]


def test_prompt_and_baseline_fit_the_longest_sequence():
    [first, _] = with_baselines(groups([1, 2]), seed=0, longest=5)

    assert len(baseline(first)) == 3


def test_rows_that_all_share_one_prompt_still_get_another_rows_answer():
    paired = with_baselines(groups([7, 7, 7]), seed=0, longest=100)

    assert all(baseline(group)[0] != 100 + group.row for group in paired)


def test_each_row_takes_the_answer_of_the_next_one_with_another_prompt():
    for seed, prompts in enumerate([[1, 1, 2, 1, 1, 3, 3], [5], [4, 4], [1, 1, 1, 2], list(range(6)) * 2]):
        made = groups(prompts)
        order = np.random.default_rng(seed).permutation(len(made)).tolist()
        for place, number in enumerate(order):
            others = order[place + 1 :] + order[:place]
            due = [other for other in others if prompts[other] != prompts[number]] or others or [number]

            paired = with_baselines(made, seed, longest=100)

            assert baseline(paired[number])[0] == 100 + due[0]


@pytest.mark.parametrize("prompts", [np.full(300_000, 7), np.arange(300_000) // 299_999])
def test_the_work_of_pairing_grows_with_the_rows_and_not_with_their_square(prompts):
    began = time.process_time()

    donated = donors(prompts, seed=0)

    # the square would be 9e10 comparisons, minutes even in numpy
    assert time.process_time() - began < 10
    assert not (donated == np.arange(len(prompts))).any()


def test_of_a_masked_answer_the_tokens_that_are_left_are_counted():
    masked = [Completion([1, 2, 3, 4], "completion", [True, False, False, True])]
    made = [Group([n], masked, n, label=True) for n in range(3)]

    assert [group.completions[1].trained for group in with_baselines(made, 0, 4)] == [
        [True, False, False]
    ] * 3
