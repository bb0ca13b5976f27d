# SPDX-License-Identifier: Apache-2.0
"""NaN: no weight ever holds one, the rows are named, and a run may leave such steps out."""

import math

import pytest
import torch

from tadrib.training.config import SFTConfig
from tadrib.training.errors import TrainingError
from tadrib.training.sft_trainer import create_sft_trainer
from tests.tiny import tiny_model, write_rows
from tests.workers import run_workers

POISONED = {5, 11}


def poison(trainer) -> None:
    """Make the loss of any micro-batch that holds a poisoned row NaN."""
    engine = trainer.get_trainer()
    objective = engine.objective

    def poisoned(log_probs, batch):
        loss, metrics = objective(log_probs, batch)
        return (loss * float("nan") if POISONED & set(batch.rows) else loss), metrics

    engine.objective = poisoned


def build(folder: str, *, poisoned: bool = True, **changes):
    given = {
        "dataset_path": f"{folder}/rows.jsonl",
        "output_dir": f"{folder}/out",
        "torch_dtype": "float32",
        "use_lora": False,
        "packing": False,
        "max_seq_length": 256,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 2,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        **changes,
    }
    given.setdefault("model_name", tiny_model())
    trainer = create_sft_trainer(SFTConfig(**given))
    if poisoned:
        poison(trainer)
    return trainer


def stop_message(folder: str, model: str) -> str:
    trainer = build(folder, per_device_train_batch_size=1, model_name=model)
    try:
        trainer.train()
    except TrainingError as error:
        return str(error)
    return "trained to the end"


def test_the_run_stops_and_names_the_rows(tmp_path):
    write_rows(tmp_path / "rows.jsonl", "sft_train.jsonl", 24)
    trainer = build(str(tmp_path))

    with pytest.raises(
        TrainingError, match=r"NaN or infinite.*\n.*rows .*(6|12)\b.*on_nonfinite: skip"
    ) as stopped:
        trainer.train()

    assert "counted from 1" in str(stopped.value)
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_every_worker_stops_with_the_same_words(tmp_path):
    write_rows(tmp_path / "rows.jsonl", "sft_train.jsonl", 24)

    first, second = run_workers(2, stop_message, str(tmp_path), tiny_model(), folder=tmp_path)

    assert first == second
    assert "NaN or infinite" in first


def test_steps_are_left_out_and_counted_when_asked_for(tmp_path):
    write_rows(tmp_path / "rows.jsonl", "sft_train.jsonl", 24)
    trainer = build(str(tmp_path), on_nonfinite="skip")

    trainer.train()

    rows = [row for row in trainer.trainer.state.log_history if "skipped_steps" in row]
    assert 1 <= rows[-1]["skipped_steps"] <= len(POISONED)
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


@pytest.mark.parametrize("every", [1, 4])
def test_logged_losses_are_those_of_the_steps_that_were_taken(tmp_path, every):
    write_rows(tmp_path / "rows.jsonl", "sft_train.jsonl", 24)
    trainer = build(str(tmp_path), on_nonfinite="skip", logging_steps=every)
    engine, taken = trainer.get_trainer(), {}
    poisoned = engine.objective

    def watched(log_probs, batch):
        loss, metrics = poisoned(log_probs, batch)
        if torch.isfinite(loss):
            taken[engine.state.global_step + 1] = loss.item()
        return loss, metrics

    engine.objective = watched
    metrics = trainer.train()

    logged = {row["step"]: row["loss"] for row in engine.state.log_history if "loss" in row}
    spans = [range(1, 2), *(range(max(2, last - every + 1), last + 1) for last in range(every, 13, every))]
    means = {span[-1]: [taken[step] for step in span if step in taken] for span in spans if span}
    assert 10 <= len(taken) < 12
    assert logged == pytest.approx({step: sum(each) / len(each) for step, each in means.items() if each})
    assert metrics["train_loss"] == pytest.approx(sum(taken.values()) / len(taken))
    assert all(math.isfinite(v) for row in engine.state.log_history for v in row.values())


def test_no_more_steps_are_left_out_than_allowed(tmp_path):
    write_rows(tmp_path / "rows.jsonl", "sft_train.jsonl", 24)
    trainer = build(str(tmp_path), on_nonfinite="skip", max_skipped_steps=0)

    with pytest.raises(TrainingError, match="NaN or infinite"):
        trainer.train()


def test_an_infinite_gradient_behind_a_finite_loss_is_found(tmp_path):
    write_rows(tmp_path / "rows.jsonl", "sft_train.jsonl", 24)
    trainer = build(str(tmp_path), poisoned=False)
    engine = trainer.get_trainer()
    weight = next(engine.model.parameters())
    weight.register_hook(lambda gradient: gradient * float("inf"))

    with pytest.raises(TrainingError, match="a gradient is NaN or infinite"):
        trainer.train()
