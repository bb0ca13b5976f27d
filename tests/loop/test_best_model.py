# SPDX-License-Identifier: Apache-2.0
"""The best checkpoint: by the metric's own direction, among those that were saved, wherever the run has moved to."""

import json
import logging
import math

import pytest
import torch

from tadrib.training.config import METHODS, CPOConfig, DPOConfig, SFTConfig
from tadrib.training.errors import SpecError
from tadrib.training.files.store import Store
from tadrib.training.files.store_folders import download_folder
from tadrib.training.loop.store_checkpoint_manager import StoreCheckpointManager
from tadrib.training.run.names import CHECKPOINTS
from tadrib.training.trainers import create_trainer
from tests.s3 import Way, s3_server
from tests.tiny import tiny_model, write_rows


def build(folder, *, engine: str = "tadrib", **changes):
    """A trainer whose held-out loss falls, then rises: it overshoots."""
    given = {
        "model_name": tiny_model(),
        "dataset_path": write_rows(folder / "rows.jsonl", "sft_train.jsonl", 12),
        "eval_dataset_path": write_rows(folder / "held_out.jsonl", "sft_heldout.jsonl", 4),
        "output_dir": str(folder / "out"),
        "instruction_template": "tokenizer",
        "torch_dtype": "float32",
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "lora_dropout": 0.0,
        "packing": False,
        "max_steps": 8,
        "per_device_train_batch_size": 2,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "eval_steps": 1,
        "save_steps": 1,
        "save_total_limit": 2,
        **changes,
    }
    return create_trainer("sft", SFTConfig(**given), engine=engine)


def scores(trainer, name: str = "eval_loss") -> dict[int, float]:
    history = trainer.trainer.state.log_history
    return {row["step"]: row[name] for row in history if name in row}


def best(found: dict[int, float]) -> int:
    return min(found, key=found.__getitem__)


@pytest.mark.parametrize("engine", ["tadrib", "trl"])
def test_the_lowest_perplexity_is_the_best(tmp_path, engine):
    trainer = build(tmp_path, engine=engine, metric_for_best_model="eval_perplexity")
    trainer.train()
    found = scores(trainer, "eval_perplexity")

    assert len(found) == 8
    assert best(found) != max(found, key=found.__getitem__)
    assert trainer.trainer.state.best_global_step == best(found)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        f"checkpoint-{best(found)}",
        "checkpoint-8",
    }
    assert trainer.evaluate()["eval_perplexity"] == pytest.approx(found[best(found)], rel=1e-5)


def test_an_evaluation_without_a_checkpoint_cannot_win_and_that_is_said(tmp_path, caplog):
    trainer = build(tmp_path, save_steps=4)
    with caplog.at_level(logging.WARNING, "tadrib"):
        trainer.train()
    found = scores(trainer)
    saved = best({step: found[step] for step in (4, 8)})

    assert best(found) not in (4, 8), "another evaluation must be the best, or nothing is missed"
    assert f"eval_loss was best at step {best(found)}" in caplog.text
    assert f"ends with the best one that was saved, step {saved} " in caplog.text
    assert trainer.evaluate()["eval_loss"] == pytest.approx(found[saved], rel=1e-5)


def test_a_moved_run_remembers_its_best(tmp_path):
    (tmp_path / "here").mkdir()
    first = build(tmp_path / "here", max_steps=6)
    first.train()
    best_step = first.trainer.state.best_global_step
    state = json.loads((tmp_path / "here" / "out" / "checkpoint-6" / "trainer_state.json").read_text())
    assert best_step < 6
    assert str(tmp_path) not in json.dumps(state)

    (tmp_path / "here").rename(tmp_path / "there")
    second = build(tmp_path / "there", max_steps=6)
    second.train(resume_from_checkpoint=str(tmp_path / "there" / "out" / "checkpoint-6"))

    expected = str(tmp_path / "there" / "out" / f"checkpoint-{best_step}")
    assert second.trainer.state.best_model_checkpoint == expected
    assert second.evaluate()["eval_loss"] == pytest.approx(scores(first)[best_step], rel=1e-5)


def test_a_run_that_goes_on_at_another_machine_brings_its_best_from_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    for machine in ("one", "two"):
        (tmp_path / machine).mkdir()
    with s3_server() as port:
        way = Way(port)
        store = Store(f"s3://bucket/best?{way.query}")
        first = build(tmp_path / "one", max_steps=6)
        first.get_trainer().checkpoint_manager = StoreCheckpointManager(store)
        first.train()
        first.trainer.checkpoint_manager.close()

        (tmp_path / "one").rename(tmp_path / "gone")
        newest = tmp_path / "two" / "out" / "checkpoint-6"
        assert download_folder(store, f"{CHECKPOINTS}/checkpoint-6", newest) is None
        second = build(tmp_path / "two", max_steps=6)
        second.get_trainer().checkpoint_manager = StoreCheckpointManager(store)
        second.train(resume_from_checkpoint=str(newest))
        way.close()

    found = scores(first)
    assert best(found) != 6
    assert second.evaluate()["eval_loss"] == pytest.approx(found[best(found)], rel=1e-5)


def test_a_best_checkpoint_that_is_gone_is_replaced_by_the_best_of_those_that_are_left(tmp_path):
    first = build(tmp_path, max_steps=6, save_total_limit=None)
    first.train()
    found = scores(first)
    gone = best(found)
    (tmp_path / "out" / f"checkpoint-{gone}").rename(tmp_path / "gone")
    del found[gone]

    second = build(tmp_path, max_steps=6, save_total_limit=None)
    second.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-6"))

    assert second.trainer.state.best_global_step == best(found)
    assert second.evaluate()["eval_loss"] == pytest.approx(found[best(found)], rel=1e-5)


def test_the_newest_checkpoint_stays_beside_the_best_with_a_limit_of_one(tmp_path):
    trainer = build(tmp_path, save_total_limit=1)
    trainer.train()

    kept = {path.name for path in (tmp_path / "out").iterdir()}
    assert {f"checkpoint-{best(scores(trainer))}", "checkpoint-8"} <= kept


def test_a_run_that_died_before_its_final_weights_takes_no_step_more(tmp_path):
    plain = {"max_steps": 5, "evaluation_strategy": "no", "load_best_model_at_end": False}
    first = build(tmp_path, **plain)
    first.train()
    second = build(tmp_path, **plain)
    metrics = second.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-5"))

    assert second.trainer.state.global_step == 5
    assert "train_loss" not in metrics, "there is no mean over no step"
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("engine", ["tadrib", "trl"])
@pytest.mark.parametrize(
    ("schedule", "steps", "expected"),
    [
        ("linear", 1, [1]),
        ("linear", 2, [1, 1]),
        ("linear", 4, [1 / 2, 1, 1, 1 / 2]),
        ("cosine", 4, [1 / 2, 1, 1, 1 / 2]),
        ("constant_with_warmup", 3, [1 / 2, 1, 1]),
        ("constant", 2, [1, 1]),
    ],
)
def test_the_first_step_of_a_warm_up_learns(tmp_path, schedule, steps, expected, engine):
    """Half of the steps warm up. Afterwards `linear` falls from 1 to 0 over the other half: 1, 1/2, and so does
    `cosine`: cos² of 0 and of pi/4."""
    plain = {"evaluation_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer = build(
        tmp_path, engine=engine, lr_scheduler_type=schedule, max_steps=steps, warmup_ratio=0.5, **plain
    )
    before = [p.detach().clone() for p in trainer.get_trainer().model.parameters()]
    trainer.train()

    rates = [row["learning_rate"] / 0.1 for row in trainer.trainer.state.log_history if "loss" in row]
    assert rates == pytest.approx(expected)
    after = trainer.trainer.model.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        (SFTConfig, {"metric_for_best_model": "eval_perplexty"}, "Did you mean eval_perplexity"),
        (SFTConfig, {"metric_for_best_model": "eval_rewards/margins"}, "eval_loss, eval_perplexity"),
        (DPOConfig, {"metric_for_best_model": "rewards/margin"}, "Did you mean eval_rewards/margins"),
        (DPOConfig, {"metric_for_best_model": "eval_kl"}, "greater_is_better: not set"),
        (SFTConfig, {"greater_is_better": True}, "eval_loss is better when lower"),
    ],
)
def test_a_metric_without_a_name_or_a_direction_is_refused_before_training(config, given, message):
    with pytest.raises(SpecError, match=message):
        config(**given)


@pytest.mark.parametrize(
    ("config", "given", "greatest"),
    [
        (SFTConfig, {}, False),
        (SFTConfig, {"metric_for_best_model": "perplexity"}, False),
        (DPOConfig, {"metric_for_best_model": "eval_rewards/accuracies"}, True),
        (CPOConfig, {"metric_for_best_model": "eval_nll_loss"}, False),
        (DPOConfig, {"metric_for_best_model": "eval_kl", "greater_is_better": False}, False),
        (DPOConfig, {"metric_for_best_model": "eval_logps/rejected", "greater_is_better": True}, True),
    ],
)
def test_a_metric_knows_its_direction(config, given, greatest):
    assert config(**given).best_is_greatest is greatest


def test_every_metric_that_picks_the_best_is_logged(tmp_path):
    for method in METHODS:
        rows = {
            "dataset_path": write_rows(tmp_path / f"{method}.jsonl", f"{method}_train.jsonl", 4),
            "eval_dataset_path": write_rows(tmp_path / f"{method}-eval.jsonl", f"{method}_heldout.jsonl", 4),
        }
        given = {"model_name": tiny_model(), "output_dir": str(tmp_path / "out"), **rows}
        config = METHODS[method].config(**given, max_seq_length=256)
        logged = create_trainer(method, config).evaluate()
        found = {name: logged[f"eval_{name}"] for name in config.facts["run.metrics"]}
        assert all(math.isfinite(value) for value in found.values()), found
