# SPDX-License-Identifier: Apache-2.0
"""What the reference cache holds is what the planned steps use; what they come to use later is scored then."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.engine.loader import PlannedBatches
from tadrib.training.engine.plan import EpochPlanner
from tadrib.training.phases import followed
from tadrib.training.trainers import create_trainer
from tests.engine.builders import build_groups
from tests.test_preference_trainers import config, losses


def scored(folder: Path) -> int:
    """Groups in the cache of a run under ``folder``."""
    shards = (folder / "out" / "reference-cache").rglob("*.parquet")
    return sum(pq.read_metadata(shard).num_rows for shard in shards)


def full(tmp_path, **changes):
    """16 rows, four in a step, full weights."""
    return config(tmp_path, "dpo", use_lora=False, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"max_steps": 2}, 8),
        ({"num_train_epochs": 0.5}, 8),
        ({"max_steps": 2, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 3}, 6),
        ({"max_steps": 6}, 16),
        ({}, 16),
    ],
    ids=["steps", "half an epoch", "accumulated", "more than an epoch", "an epoch"],
)
def test_only_groups_that_the_steps_use_are_scored(tmp_path, changes, expected):
    found = losses(create_trainer("dpo", full(tmp_path, **changes)))

    assert scored(tmp_path) == expected
    assert found == pytest.approx(
        losses(create_trainer("dpo", full(tmp_path, **changes, reference="copy"))), abs=1e-5
    )


def test_bins_of_a_token_budget_are_counted_by_their_groups(tmp_path):
    given = full(tmp_path, max_tokens_per_batch=120, max_steps=2)
    trainer = create_trainer("dpo", given)

    batches = list(trainer.get_data_loader())[:2]

    used = {row for batch in batches for row in batch.rows}
    assert 2 < len(used) < 16
    assert scored(tmp_path) == len(used)
    assert len(losses(trainer)) == 2


def test_a_longer_run_that_resumes_scores_what_the_shorter_one_left(tmp_path):
    short = full(tmp_path, max_steps=2, save_strategy="steps", save_steps=2)
    create_trainer("dpo", short).train()
    assert scored(tmp_path) == 8

    longer = create_trainer("dpo", full(tmp_path, max_steps=4, lr_scheduler_type="constant"))
    longer.train(resume_from_checkpoint=f"{short.output_dir}/checkpoint-2")

    assert scored(tmp_path) == 16
    assert longer.trainer.state.global_step == 4


def test_training_rows_that_are_evaluated_are_scored_then(tmp_path):
    given = {"max_steps": 1, "evaluation_strategy": "no"}
    trainer = create_trainer("dpo", full(tmp_path, **given))
    trainer.get_trainer()
    assert scored(tmp_path) == 4

    found = trainer.evaluate()

    assert scored(tmp_path) == 16
    assert found["eval_loss"] == pytest.approx(0.6931, abs=1e-4)


@pytest.mark.parametrize(("steps", "expected"), [(4, 0), (5, 16)], ids=["one pass", "a row twice"])
def test_auto_leaves_adapters_off_where_no_row_is_used_twice(tmp_path, steps, expected):
    create_trainer("dpo", config(tmp_path, "dpo", max_steps=steps)).train()

    assert scored(tmp_path) == expected


def test_scoring_is_told_as_far_as_it_is_between_the_two_models(tmp_path):
    phases = []
    with followed(phases.append):
        create_trainer("dpo", full(tmp_path, max_steps=3, per_device_eval_batch_size=5)).train()

    told = [(phase.text, phase.done, phase.planned, phase.unit) for phase in phases]
    scoring = "scoring with the reference model"
    assert told == [
        ("loading the reference model", 0, 0, ""),
        *((scoring, done, 12, "groups") for done in (0, 5, 10, 12)),
        ("loading the model", 0, 0, ""),
    ]
    assert [phase.seconds for phase in phases[1:5]] == sorted(phase.seconds for phase in phases[1:5])


def test_a_worker_without_groups_stands_by_with_one_of_its_step():
    groups = GroupDataset.from_groups(build_groups(12, 2))
    planner = EpochPlanner(groups.num_tokens, rows_per_step=2, num_workers=3, seed=1)
    steps = planner.plan(0)
    assert sum(0 in step.groups for step in steps) == 1

    for worker in range(3):
        batches = PlannedBatches(groups, planner, "packed", worker)
        for number, step in enumerate(steps):
            assert set(batches[0, number].rows) <= set(step.groups)
