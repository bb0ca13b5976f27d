# SPDX-License-Identifier: Apache-2.0
import gc
import hashlib
import json

import numpy as np
import pytest

from tadrib.training.engine import plan as plan_module
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
    for step in list(planner(num_workers=2, rows_per_step=16).plan(0))[:-1]:
        loads = [SIZES[worker].sum() for worker in step.micro_batches[0]]

        assert max(loads) - min(loads) <= 60


GOLDEN = {
    "7940fb163b75c69f14ba2a5359488c8b510f9e0ef259cd9ca531545467676641": {"rows_per_step": 16},
    "ef8083beae73798130b20a5896eb8da75b12d837363405a0f438785870ec4877": {
        "rows_per_step": 12,
        "num_workers": 3,
        "num_micro_batches": 2,
    },
    "e91fc4d22460d75ca73f02da929c36053d6bc47f4ed5df95866ac5e98e3de407": {
        "rows_per_step": 8,
        "num_workers": 2,
        "bin_tokens": 2048,
    },
    "55fdf748cdbc75ca8abdef5b3c93b356dd52d284e3fbf43af370f8478181a572": {
        "rows_per_step": 7,
        "num_workers": 3,
        "num_micro_batches": 2,
        "bin_tokens": 700,
    },
    "f08ee7898cc19f76d9b42535ff52c5f6810df700c782aa62d2737665ced80fd4": {
        "rows_per_step": 5,
        "bin_tokens": 5000,
    },
    "90ce58b465d9cf394b863d4c2f5634c58a4b453cc6bbf1deffe9a26e08db185e": {
        "rows_per_step": 4,
        "num_workers": 2,
        "bin_tokens": 1024,
        "shuffle": False,
    },
}
"""SHA-256 of the steps of epochs 0 and 3 of 10,000 groups, as tadrib 0.1.0 planned them in lists of Python."""


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("digest", GOLDEN)
def test_the_same_seed_plans_the_steps_that_it_always_did(digest, shared, monkeypatch, tmp_path):
    monkeypatch.setenv("TADRIB_SCRATCH", str(tmp_path))
    monkeypatch.setattr(plan_module, "_SHARED_GROUPS", 1 if shared else 10**9)
    planner = EpochPlanner(np.random.default_rng(13).integers(3, 700, 10_000), seed=42, **GOLDEN[digest])
    found = hashlib.sha256()
    for epoch in (0, 3):
        for step in planner.plan(epoch):
            found.update(json.dumps([step.micro_batches, step.groups]).encode())
    assert found.hexdigest() == digest


def test_processes_of_a_machine_share_a_large_plan_which_is_removed_in_the_end(monkeypatch, tmp_path):
    monkeypatch.setenv("TADRIB_SCRATCH", str(tmp_path))
    monkeypatch.setattr(plan_module, "_SHARED_GROUPS", 101)
    ours, theirs = planner(bin_tokens=128), planner(bin_tokens=128)
    made = ours.plan(0)
    [folder] = tmp_path.glob("plan-*")
    with monkeypatch.context() as patch:
        patch.setattr(EpochPlanner, "_rows", None)
        assert list(theirs.plan(0)) == list(made)
    del ours, made
    gc.collect()
    assert not folder.exists()
    assert sorted(i for step in theirs.plan(0) for i in members(step)) == list(range(len(SIZES)))
    assert planner(bin_tokens=128).plan(0)[3] == theirs.plan(0)[3]


def test_the_groups_that_the_first_steps_use_are_those_of_their_plan():
    plan = planner(bin_tokens=128)
    assert plan.used_within(3).tolist() == sorted(i for step in list(plan.plan(0))[:3] for i in step.groups)
    assert plan.used_within(10**6).tolist() == list(range(len(SIZES)))
