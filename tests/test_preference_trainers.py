# SPDX-License-Identifier: Apache-2.0
"""The preference trainers as a notebook uses them: references, comparison, metrics and warnings."""

import logging

import pytest
from transformers import TrainerCallback

from tadrib.training.config import METHODS
from tadrib.training.reference.cache import ReferenceCache
from tadrib.training.reference.setup import choose_reference
from tadrib.training.trainers import create_trainer
from tests.tiny import tiny_model, write_rows


def config(tmp_path, method: str, **changes):
    return METHODS[method].config(
        **{
            "model_name": tiny_model(),
            "dataset_path": write_rows(tmp_path / "train.jsonl", f"{method}_train.jsonl", 16),
            "output_dir": str(tmp_path / "out"),
            "instruction_template": "tokenizer",
            "learning_rate": 1e-3,
            "lora_dropout": 0.0,
            "num_train_epochs": 1,
            "per_device_train_batch_size": 4,
            "gradient_checkpointing": False,
            "warmup_ratio": 0.0,
            "logging_steps": 1,
            "save_strategy": "no",
            **changes,
        }
    )


def losses(trainer) -> list[float]:
    trainer.train()
    return [row["loss"] for row in trainer.trainer.state.log_history if "loss" in row]


@pytest.mark.parametrize("method", ["dpo", "ipo", "kto"])
def test_every_source_of_the_reference_gives_the_same_losses(tmp_path, method):
    found = {
        reference: losses(create_trainer(method, config(tmp_path, method, reference=reference)))
        for reference in ("adapter_off", "copy", "cache")
    }

    assert len(found["copy"]) == 4
    assert found["copy"] == pytest.approx(found["adapter_off"], abs=1e-5)
    assert found["cache"] == pytest.approx(found["adapter_off"], abs=1e-5)


def test_another_reference_model_changes_the_loss_from_the_first_step(tmp_path):
    from tadrib.training.tiny.model import build_tiny_model

    other = str(build_tiny_model(tmp_path / "other", seed=1))
    own = losses(create_trainer("dpo", config(tmp_path, "dpo", reference="copy")))
    others = losses(create_trainer("dpo", config(tmp_path, "dpo", reference="model", ref_model_name=other)))

    assert own[0] == pytest.approx(0.6931, abs=1e-4)
    assert abs(others[0] - own[0]) > 1e-3


def test_the_cache_is_filled_once_and_resumed_after_a_kill(tmp_path, monkeypatch):
    from tadrib.training.reference import precompute

    given = config(tmp_path, "dpo", reference="cache")
    monkeypatch.setattr(precompute, "SHARD_TOKENS", 1)
    scored = []
    write = ReferenceCache.write

    def counted(self, keys, scores):
        scored.append(len(keys))
        write(self, keys, scores)

    monkeypatch.setattr(ReferenceCache, "write", counted)
    create_trainer("dpo", given).create_trainer()
    assert sum(scored) == 16

    [folder] = (tmp_path / "out" / "reference-cache").iterdir()
    sorted(folder.iterdir())[0].unlink()
    create_trainer("dpo", given).create_trainer()
    assert sum(scored) == 16 + scored[0]

    create_trainer("dpo", given).create_trainer()
    assert sum(scored) == 16 + scored[0]


@pytest.mark.parametrize(
    ("changes", "passes", "expected"),
    [
        ({}, 1.0, "adapter_off"),
        ({}, 1.1, "cache"),
        ({"use_lora": False}, 1.0, "cache"),
        ({"ref_model_name": "models/other"}, 1.0, "cache"),
        ({"reference": "copy"}, 3.0, "copy"),
    ],
    ids=["lora, one pass", "lora, a row twice", "full weights", "another model", "as asked"],
)
def test_auto_picks_the_reference_by_passes_and_memory(tmp_path, changes, passes, expected):
    assert choose_reference(config(tmp_path, "dpo", **changes), passes) == expected


@pytest.mark.parametrize("method", ["dpo", "kto", "ipo", "cpo", "simpo"])
def test_training_evaluating_and_comparing(tmp_path, method):
    held_out = write_rows(tmp_path / "eval.jsonl", f"{method}_heldout.jsonl", 12)
    given = config(tmp_path, method, eval_dataset_path=held_out, evaluation_strategy="no", max_steps=6)
    trainer = create_trainer(method, given)

    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    row = trainer.generate_comparison("أين المسجد؟", max_length=4)

    assert after["eval_loss"] < before["eval_loss"]
    assert {"eval_rewards/accuracies", "eval_rewards/chosen", "eval_rewards/rejected"} <= set(after)
    assert set(row) == {"prompt", "trained_model_response", "reference_model_response"}
    logs = [entry for entry in trainer.trainer.state.log_history if "loss" in entry]
    assert logs[0]["logps/chosen_drift"] == 0
    assert trainer.trainer.path_choice.path == "packed"


def test_a_prompt_with_many_answers_is_computed_once(tmp_path):
    trainer = create_trainer("cpo", config(tmp_path, "cpo"))
    data = trainer.load_and_validate_dataset()
    batch = next(iter(trainer.get_data_loader()))

    groups = [next(g for g in data.train if g.row == row) for row in batch.rows]
    assert max(len(group.completions) for group in groups) > 2
    assert batch.num_tokens == sum(len(g.prompt) + sum(len(c.tokens) for c in g.completions) for g in groups)


class Passing(TrainerCallback):
    """Keeps the logs as a run's reporter gets them."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.rows.append(dict(logs))


def test_a_collapse_of_the_chosen_answers_is_said_in_plain_words_and_passed_on(tmp_path, caplog):
    given = config(tmp_path, "simpo", learning_rate=0.2, use_lora=False, max_steps=6)
    trainer, reporter = create_trainer("simpo", given), Passing()
    trainer.add_callback(reporter)

    with caplog.at_level(logging.WARNING, "tadrib"):
        trainer.train()

    assert "a token of the chosen answers is" in caplog.text
    assert "Lower learning_rate." in caplog.text
    rows = [row for row in reporter.rows if "loss" in row]
    start = rows[0]["logps/chosen_per_token"]
    assert [row["logps/chosen_drift"] for row in rows] == pytest.approx(
        [row["logps/chosen_per_token"] - start for row in rows]
    )
    assert rows[-1]["logps/chosen_drift"] < -1
