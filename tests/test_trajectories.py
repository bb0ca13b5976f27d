# SPDX-License-Identifier: Apache-2.0
"""Loss trajectories that must be one and the same: workers, accumulation, resuming."""

import json

import pytest
import torch

from tadrib.training.config import METHODS
from tadrib.training.trainers import create_trainer
from tests.tiny import tiny_model, write_rows
from tests.workers import run_workers

CASES = {
    "sft, LoRA, packed": ("sft", {"use_lora": True}),
    "sft, full, packed": ("sft", {"use_lora": False}),
    "sft, LoRA, a row a group": ("sft", {"use_lora": True, "packing": False}),
    "sft, full, a row a group": ("sft", {"use_lora": False, "packing": False}),
    "dpo, LoRA, adapters off, with an SFT term": ("dpo", {"reference": "adapter_off", "sft_weight": 0.1}),
    "dpo, full, cached reference": ("dpo", {"use_lora": False, "reference": "cache"}),
    "ipo, LoRA": ("ipo", {}),
    "kto, full, frozen copy": ("kto", {"use_lora": False, "reference": "copy"}),
    "kto, LoRA, adapters off": ("kto", {"reference": "adapter_off"}),
    "cpo, LoRA, weighted hard negatives": ("cpo", {"hard_negative_weight": 2.0}),
    "cpo, full, softmax": ("cpo", {"use_lora": False, "multi_negative": "softmax"}),
    "simpo, full": ("simpo", {"use_lora": False}),
}


def train(
    method: str, fields: dict, resume_from: str | None = None, planned_workers: int | None = None
) -> dict:
    """Train by the public trainers; the losses of every step and the tokens that were seen."""
    trainer = create_trainer(method, METHODS[method].config(**fields))
    trainer.planned_workers = planned_workers
    trainer.train(resume_from_checkpoint=resume_from)
    state = trainer.trainer.state
    rows = [row for row in state.log_history if "loss" in row]
    return {
        "losses": [row["loss"] for row in rows],
        "kl": [row["kl"] for row in rows if "kl" in row],
        "steps": state.global_step,
        "tokens": state.num_input_tokens_seen,
    }


def train_all(cases: list[tuple[str, dict]]) -> list[dict]:
    return [train(method, fields) for method, fields in cases]


def fields(folder, method: str = "sft", **changes) -> dict:
    count, packed = (60, {"max_seq_length": 64}) if method == "sft" else (20, {})
    return {
        "model_name": tiny_model(),
        "dataset_path": write_rows(folder / f"{method}.jsonl", f"{method}_train.jsonl", count),
        "output_dir": str(folder / "out"),
        "instruction_template": "tokenizer",
        "torch_dtype": "float32",
        "learning_rate": 1e-3,
        "lora_dropout": 0.0,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        **packed,
        **changes,
    }


def assert_close(found: list[float], expected: list[float], tolerance: float) -> None:
    assert len(found) == len(expected) > 4
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < tolerance
    assert min(found[1:]) < found[0], "the run must learn, or the comparison says nothing"


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory) -> dict[str, list[dict]]:
    """Every case trained by two workers with half the batch each, in one pair of processes; results by rank."""
    folder = tmp_path_factory.mktemp("two")
    cases = [
        (method, fields(folder, method, per_device_train_batch_size=2, **changes))
        for method, changes in CASES.values()
    ]
    by_rank = run_workers(2, train_all, cases, folder=folder)
    return dict(zip(CASES, zip(*by_rank, strict=True), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_workers_equal_one_on_the_same_global_batch(tmp_path, two_workers, case):
    method, changes = CASES[case]

    one = train(method, fields(tmp_path, method, **changes))
    first, second = two_workers[case]

    assert_close(first["losses"], one["losses"], 1e-5)
    assert first["losses"] == second["losses"]
    assert first["tokens"] == one["tokens"]


def test_accumulated_micro_batches_equal_one_large_batch(tmp_path):
    small = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}

    whole = train("sft", fields(tmp_path, use_lora=False))
    parts = train("sft", fields(tmp_path, use_lora=False, **small))

    assert_close(parts["losses"], whole["losses"], 1e-5)


def test_a_step_of_kto_has_one_baseline_however_it_is_split(tmp_path):
    """8 rows at once, in four micro-batches, and in two of each of two workers."""
    given = fields(tmp_path, "kto", learning_rate=1e-2, per_device_train_batch_size=8, max_steps=5)
    cases = [("kto", given | {"reference": reference}) for reference in ("adapter_off", "cache")]

    def split(micro_batches: int) -> list[tuple[str, dict]]:
        parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": micro_batches}
        return [(method, each | parts) for method, each in cases]

    wholes, fours = train_all(cases), train_all(split(4))
    twos = run_workers(2, train_all, split(2), folder=tmp_path)[0]

    for whole, four, two in zip(wholes, fours, twos, strict=True):
        assert max(whole["kl"]) > 0.1, "a baseline of 0 is the same for any split"
        for parts in (four, two):
            assert_close(parts["losses"], whole["losses"], 1e-5)
            assert parts["kl"] == pytest.approx(whole["kl"], rel=1e-5, abs=1e-5)


@pytest.mark.slow
def test_a_run_goes_on_with_any_number_of_workers_as_if_nothing_had_changed(tmp_path):
    saved = {"save_strategy": "steps", "save_steps": 3, "per_device_train_batch_size": 2}
    given = fields(tmp_path, **saved)
    checkpoint = f"{given['output_dir']}/checkpoint-3"

    whole = train("sft", given, planned_workers=3)
    three = run_workers(3, train, "sft", given, checkpoint, 3, folder=tmp_path)[0]
    one = train("sft", given, checkpoint, planned_workers=3)

    for resumed in (three, one):
        assert (resumed["steps"], resumed["tokens"]) == (whole["steps"], whole["tokens"])
        assert_close(resumed["losses"], whole["losses"], 1e-5)


def test_a_token_budget_bounds_every_micro_batch_and_uses_every_group_once(tmp_path):
    given = fields(tmp_path, "dpo", max_tokens_per_batch=200)
    del given["per_device_train_batch_size"]
    trainer = create_trainer("dpo", METHODS["dpo"].config(**given))

    batches = list(trainer.get_data_loader())

    assert max(batch.input_ids.numel() for batch in batches) <= 200
    assert len(batches) < len(trainer.data.train)
    assert sorted(row for batch in batches for row in batch.rows) == [g.row for g in trainer.data.train]


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
    saved = {"save_strategy": "steps", "save_steps": 3, "save_total_limit": 10}
    given = fields(tmp_path, lora_dropout=0.1, **saved)

    whole = train("sft", given)
    torch.manual_seed(1)
    resumed = train("sft", given, resume_from=f"{given['output_dir']}/checkpoint-3")

    assert resumed["steps"] == whole["steps"]
    assert resumed["tokens"] == whole["tokens"]
    assert_close(resumed["losses"], whole["losses"], 1e-6)


@pytest.mark.parametrize("length", [{"max_steps": 3}, {"num_train_epochs": 0.5}], ids=["steps", "epochs"])
def test_a_run_that_resumes_after_its_last_step_does_no_other(tmp_path, length):
    given = fields(tmp_path, save_strategy="steps", save_steps=1)
    given = {key: value for key, value in given.items() if key != "max_steps"} | length
    whole = train("sft", given)
    steps = whole["steps"]
    assert steps in (3, 4)
    checkpoint = tmp_path / "out" / f"checkpoint-{steps}"

    resumed = train("sft", given, resume_from=str(checkpoint))

    assert (resumed["steps"], resumed["tokens"], resumed["losses"]) == (
        steps,
        whole["tokens"],
        whole["losses"],
    )


def test_checkpoints_appear_whole_and_hold_no_pickled_arguments(tmp_path):
    given = fields(tmp_path, save_strategy="steps", save_steps=2, save_total_limit=2, max_steps=6)

    train("sft", given)

    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.name != ".saving") == [
        "checkpoint-4",
        "checkpoint-6",
        "prepared",
    ]
    names = {p.name for p in (tmp_path / "out" / "checkpoint-6").iterdir()}
    assert "training_args.bin" not in names
    assert {"adapter_model.safetensors", "optimizer.pt", "rng_state.pth"} <= names
    assert json.loads((tmp_path / "out/checkpoint-6/trainer_state.json").read_text())["global_step"] == 6
