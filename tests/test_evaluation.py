# SPDX-License-Identifier: Apache-2.0
"""Evaluation gives one number for one model and one set, however the set is cut; and nobody's turn adds nothing."""

import math

import pytest
import torch

from tadrib.training.config import METHODS
from tadrib.training.trainers import create_trainer
from tests.tiny import tiny_model, write_rows
from tests.workers import run_workers

CASES = {
    "sft, packed": ("sft", {"max_seq_length": 128}),
    "sft, a row a group": ("sft", {"packing": False, "max_seq_length": 128}),
    "dpo with an SFT term": ("dpo", {"sft_weight": 0.5}),
    "ipo": ("ipo", {}),
    "kto": ("kto", {}),
    "cpo": ("cpo", {}),
    "simpo": ("simpo", {}),
}
SPEEDS = ("runtime", "per_second", "prompt_tokens_saved")


def fields(folder, method: str, **changes) -> dict:
    return {
        "model_name": tiny_model(),
        "dataset_path": write_rows(folder / "train.jsonl", f"{method}_train.jsonl", 4),
        "eval_dataset_path": write_rows(folder / "eval.jsonl", f"{method}_heldout.jsonl", 11),
        "output_dir": str(folder / "out"),
        "instruction_template": "tokenizer",
        "torch_dtype": "float32",
        "lora_dropout": 0.0,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        **changes,
    }


def evaluate(method: str, given: dict) -> dict[str, float]:
    """Held-out metrics of a policy that has moved away from its reference, the same one each time."""
    trainer = create_trainer(method, METHODS[method].config(**given))
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, weight in sorted(trainer.get_trainer().model.named_parameters()):
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=noise), alpha=0.03)
    return {name: value for name, value in trainer.evaluate().items() if not name.endswith(SPEEDS)}


def evaluate_all(cases: list[tuple[str, dict]]) -> list[dict[str, float]]:
    return [evaluate(method, given) for method, given in cases]


@pytest.mark.parametrize("case", CASES)
def test_metrics_do_not_depend_on_the_evaluation_batch(tmp_path, case):
    method, changes = CASES[case]

    whole = evaluate(method, fields(tmp_path, method, per_device_eval_batch_size=11, **changes))
    for rows in (1, 2, 5):
        cut = evaluate(method, fields(tmp_path, method, per_device_eval_batch_size=rows, **changes))
        assert cut == pytest.approx(whole, rel=1e-5, abs=1e-5)
    if method == "kto":
        assert whole["eval_kl"] > 0.01, "a baseline of 0 is the same for any batch"


def test_metrics_do_not_depend_on_packing(tmp_path):
    for method, packed in (("kto", {"max_tokens_per_batch": 400}), ("dpo", {"max_tokens_per_batch": 400})):
        found = evaluate(method, fields(tmp_path, method, **packed))
        expected = evaluate(method, fields(tmp_path, method))
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.slow
def test_metrics_do_not_depend_on_the_number_of_workers(tmp_path):
    cases = []
    for name, (method, changes) in CASES.items():
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        cases.append((method, fields(folder, method, per_device_eval_batch_size=2, **changes)))

    by_rank = run_workers(2, evaluate_all, cases, folder=tmp_path)

    for (method, given), first, second in zip(cases, *by_rank, strict=True):
        assert first == second
        assert first == pytest.approx(evaluate(method, given), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_with_fewer_rows_than_places_trains_on_those_alone(tmp_path, method):
    """Three rows in micro-batches of one, two a step: the second step has one row and an empty place. It is the step
    that a run without accumulation takes with that row."""
    given = fields(tmp_path, method, num_train_epochs=1, logging_steps=1, evaluation_strategy="no")
    given |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "warmup_ratio": 0.0}
    given |= {"dataset_path": write_rows(tmp_path / "train.jsonl", f"{method}_train.jsonl", 3)}
    given |= {"packing": False, "max_seq_length": 128} if method == "sft" else {}
    trainer = create_trainer(method, METHODS[method].config(**given))
    engine = trainer.get_trainer()
    *_, filled, empty = engine.get_train_dataloader()
    assert (filled.weight, empty.weight) == (1.0, 0.0)

    trainer.train()

    rows = [row for row in engine.state.log_history if "loss" in row]
    assert len(rows) == 2
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert all(torch.isfinite(p).all() for p in engine.model.parameters())
