# SPDX-License-Identifier: Apache-2.0
"""Held-out rows of several datasets: the metrics of each, beside those of all."""

import pytest

from tadrib.training.config import METHODS
from tadrib.training.trainers import create_trainer
from tests.tiny import tiny_model, write_rows


def settings(tmp_path, method, **changes):
    listed = [
        {"path": write_rows(tmp_path / f"{name}.jsonl", f"{method}_train.jsonl", count), "split": split}
        for name, count, split in (("one", 20, 0.4), ("two", 12, 0.2), ("three", 6, 0.0))
    ]
    return METHODS[method].config(
        model_name=tiny_model(),
        datasets=listed,
        output_dir=str(tmp_path / "out"),
        instruction_template="tokenizer",
        per_device_eval_batch_size=3,
        max_steps=1,
        **changes,
    )


@pytest.mark.parametrize("method", ["sft", "cpo", "kto"])
def test_the_metrics_of_a_dataset_are_those_of_its_rows_alone(tmp_path, method):
    trainer = create_trainer(method, settings(tmp_path, method))
    engine = trainer.get_trainer()
    sizes = trainer.load_and_validate_dataset().eval_sets

    found = trainer.evaluate()

    assert (sizes["three"], sum(sizes.values())) == (0, len(engine.eval_dataset))
    assert not [key for key in found if "three" in key]
    plain = {"sft": ["loss", "perplexity"]}.get(method, ["loss", "rewards/accuracies", "rewards/margins"])
    start = 0
    for name in ("one", "two"):
        alone = engine.evaluate(engine.eval_dataset.select(range(start, start + sizes[name])))
        start += sizes[name]
        for each in plain:
            assert found[f"eval_{name}_{each}"] == pytest.approx(alone[f"eval_{each}"], rel=1e-4), each


def test_the_metrics_of_all_are_the_means_over_all_rows(tmp_path):
    trainer = create_trainer("dpo", settings(tmp_path, "dpo"))
    trainer.train()
    engine = trainer.get_trainer()

    found = trainer.evaluate()

    whole = engine.evaluate(engine.eval_dataset.select(range(len(engine.eval_dataset))))
    for each in ("loss", "rewards/accuracies", "rewards/margins"):
        assert found[f"eval_{each}"] == pytest.approx(whole[f"eval_{each}"], rel=1e-4), each
    assert found["eval_one_rewards/margins"] != found["eval_two_rewards/margins"]


def test_a_run_may_keep_the_best_model_by_one_dataset(tmp_path):
    config = settings(
        tmp_path,
        "sft",
        metric_for_best_model="eval_two_loss",
        load_best_model_at_end=True,
        eval_steps=1,
        save_steps=1,
        learning_rate=1e-3,
    )
    trainer = create_trainer("sft", config)

    trainer.train()

    [row] = [row for row in trainer.get_trainer().state.log_history if "eval_two_loss" in row]
    assert trainer.get_trainer().state.best_metric == row["eval_two_loss"]
    assert {"eval_loss", "eval_one_loss", "eval_one_perplexity"} <= row.keys()
