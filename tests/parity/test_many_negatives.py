# SPDX-License-Identifier: Apache-2.0
"""CPO with many negatives against as many CPO runs with one, ours and TRL's."""

from dataclasses import replace

import pytest

from tadrib.training.data.group import Group
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.data.prepare import PreparedData
from tadrib.training.trainers import create_trainer
from tests.parity.builders import Computed, assert_equal, both_engines, build_rows, compute, settings

NEGATIVES = 3


def rows_with_one_negative(rows: list[Group], number: int) -> list[Group]:
    return [replace(row, completions=[row.completions[0], row.completions[1 + number]]) for row in rows]


def mean(computed: list[Computed]) -> Computed:
    gradients = {
        name: sum(c.gradients[name] for c in computed) / len(computed) for name in computed[0].gradients
    }
    return Computed(sum(c.loss for c in computed) / len(computed), gradients)


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("loss_type", ["sigmoid", "hinge", "simpo"])
def test_pairwise_is_the_mean_of_separate_losses_and_computes_prompts_once(tmp_path, loss_type, lora):
    config = settings("cpo", "qwen2", tmp_path, lora, loss_type=loss_type, cpo_alpha=0.1)
    rows = build_rows(["chosen", *["rejected"] * NEGATIVES])
    together = create_trainer("cpo", config, PreparedData(GroupDataset.from_groups(rows), None, report=None))
    apart = [both_engines("cpo", config, rows_with_one_negative(rows, i)) for i in range(NEGATIVES)]

    found = compute(together)
    ours, theirs = ([compute(pair[side]) for pair in apart] for side in (0, 1))
    [batch] = together.get_data_loader()

    assert len({each.loss for each in ours}) == NEGATIVES
    assert found.loss == pytest.approx(mean(ours).loss, rel=0, abs=1e-6)
    assert_equal(found, mean(ours))
    assert_equal(found, mean(theirs))
    assert batch.num_tokens == sum(
        len(row.prompt) + sum(len(completion.tokens) for completion in row.completions) for row in rows
    )


def test_every_prompt_token_has_one_place_in_the_batch(tmp_path):
    config = settings("cpo", "qwen2", tmp_path, lora=True)
    rows = build_rows(["chosen", *["rejected"] * NEGATIVES], prompts=[30])
    trainer = create_trainer("cpo", config, PreparedData(GroupDataset.from_groups(rows), None, report=None))
    [batch] = trainer.get_data_loader()

    assert batch.input_ids[0, :30].tolist() == rows[0].prompt
    assert batch.input_ids.shape == (1, rows[0].num_tokens)
    assert (batch.position_ids == 0).sum() == 1
    assert (batch.position_ids == 30).sum() == 1 + NEGATIVES
