# SPDX-License-Identifier: Apache-2.0
"""Loss trajectories that must be one and the same: workers, accumulation, packing, resuming."""

import json

import pytest

from tests.tiny import losses_of, tiny_model, write_rows
from tests.workers import run_workers
from training.config import METHODS
from training.trainers import create_trainer


def train(method: str, fields: dict, resume_from: str | None = None) -> dict:
    """Train by the public trainers; the losses of every step and the groups that were seen."""
    trainer = create_trainer(method, METHODS[method](**fields))
    trainer.train(resume_from_checkpoint=resume_from)
    state = trainer.trainer.state
    return {
        "losses": losses_of(state.log_history),
        "steps": state.global_step,
        "tokens": state.num_input_tokens_seen,
    }


def fields(tmp_path, **changes) -> dict:
    return {
        "model_name": tiny_model(),
        "dataset_path": write_rows(tmp_path / "rows.jsonl", "sft_train.jsonl", 60),
        "output_dir": str(tmp_path / "out"),
        "instruction_template": "tokenizer",
        "torch_dtype": "float32",
        "learning_rate": 1e-3,
        "max_seq_length": 64,
        "lora_dropout": 0.0,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        **changes,
    }


def close(found: list[float], expected: list[float], tolerance: float) -> None:
    assert len(found) == len(expected) > 4
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < tolerance
    assert found[-1] < found[0], "the run must learn, or the comparison says nothing"


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("packing", [True, False], ids=["packed", "one-row-a-group"])
def test_two_workers_equal_one_on_the_same_global_batch(tmp_path, lora, packing):
    given = fields(tmp_path, use_lora=lora, packing=packing)
    [one] = run_workers(1, train, "sft", given, folder=tmp_path)
    two = run_workers(2, train, "sft", given | {"per_device_train_batch_size": 2}, folder=tmp_path)

    close(two[0]["losses"], one["losses"], 1e-5)
    assert two[0]["losses"] == two[1]["losses"]
    assert two[0]["tokens"] == one["tokens"]


def test_accumulated_micro_batches_equal_one_large_batch(tmp_path):
    large = train("sft", fields(tmp_path, use_lora=False))
    small = train(
        "sft", fields(tmp_path, use_lora=False, per_device_train_batch_size=1, gradient_accumulation_steps=4)
    )

    close(small["losses"], large["losses"], 1e-5)


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
    given = fields(tmp_path, save_strategy="steps", save_steps=3, save_total_limit=10, lora_dropout=0.1)
    whole = train("sft", given)
    resumed = train("sft", given, resume_from=f"{given['output_dir']}/checkpoint-3")

    assert resumed["steps"] == whole["steps"]
    assert resumed["tokens"] == whole["tokens"]
    close(resumed["losses"][3:], whole["losses"][3:], 1e-6)


def test_checkpoints_hold_no_pickled_arguments(tmp_path):
    given = fields(tmp_path, save_strategy="steps", save_steps=2, max_steps=2)
    train("sft", given)

    names = sorted(p.name for p in (tmp_path / "out" / "checkpoint-2").iterdir())
    assert "training_args.bin" not in names
    assert "adapter_model.safetensors" in names
    assert json.loads((tmp_path / "out/checkpoint-2/trainer_state.json").read_text())["global_step"] == 2
