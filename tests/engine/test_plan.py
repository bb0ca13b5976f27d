# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from tadrib.training.engine.plan import EpochPlanner

SIZES = np.random.default_rng(0).integers(3, 60, 101)


def planner(**options) -> EpochPlanner:
    return EpochPlanner(SIZES, **{"rows_per_step": 8, "seed": 7, **options})


def members(step) -> list[int]:
    found = sorted(i for micro in step.micro_batches for worker in micro for i in worker)
    assert found == sorted(step.groups)
    return found


@pytest.mark.parametrize("bin_tokens", [None, 128])
def test_every_group_is_used_exactly_once_per_epoch(bin_tokens):
    for epoch in range(3):
        steps = planner(num_workers=3, num_micro_batches=2, bin_tokens=bin_tokens).plan(epoch)

        assert sorted(i for step in steps for i in members(step)) == list(range(len(SIZES)))


@pytest.mark.parametrize("bin_tokens", [None, 128])
def test_the_groups_of_a_step_do_not_depend_on_how_they_are_spread(bin_tokens):
    one = planner(bin_tokens=bin_tokens).plan(1)

    for workers, micro_batches in ((2, 1), (1, 2), (3, 1), (5, 2), (9, 1)):
        spread = planner(num_workers=workers, num_micro_batches=micro_batches, bin_tokens=bin_tokens).plan(1)
        assert [members(s) for s in spread] == [members(s) for s in one]


def test_epochs_differ_and_the_seed_repeats_them():
    first, second = planner().plan(0), planner().plan(1)

    assert [members(s) for s in first] != [members(s) for s in second]
    assert [members(s) for s in first] == [members(s) for s in planner().plan(0)]


def test_packing_has_as_many_steps_in_every_epoch():
    assert len({len(planner(bin_tokens=128).plan(epoch)) for epoch in range(5)}) == 1


def test_evaluation_keeps_the_order_of_the_data():
    steps = planner(shuffle=False).plan(0)

    assert members(steps[0]) == list(range(8))


def test_a_short_last_step_is_spread_and_leaves_some_workers_without_groups():
    last = planner(num_workers=4, rows_per_step=4).plan(0)[-1]  # 101 = 25 * 4 + 1

    assert sorted(len(worker) for worker in last.micro_batches[0]) == [0, 0, 0, 1]


def test_tokens_are_balanced_between_workers():
    for step in planner(num_workers=2, rows_per_step=16).plan(0)[:-1]:
        loads = [SIZES[worker].sum() for worker in step.micro_batches[0]]

        assert max(loads) - min(loads) <= 60
