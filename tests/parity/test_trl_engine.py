# SPDX-License-Identifier: Apache-2.0
"""`engine: trl` as a user runs it: whole runs, what it saves, and what it refuses."""

import json

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from tadrib.training.base_trainer import BaseTrainer
from tadrib.training.config import METHODS
from tadrib.training.errors import SpecError
from tadrib.training.trl_engine.engine import create_trl_trainer
from tests.parity.builders import (
    ROLES,
    assert_equal,
    both_engines,
    build_rows,
    compute,
    model_folder,
    settings,
)
from tests.tiny import tiny_model, write_rows


def on_tiny_model(tmp_path, method: str, **changes) -> BaseTrainer:
    """A trainer on bundled rows; CPO's have many negatives, so it takes those of DPO."""
    source = "dpo" if method == "cpo" else method
    config = METHODS[method].config(
        **{
            "model_name": tiny_model(),
            "dataset_path": write_rows(tmp_path / "train.jsonl", f"{source}_train.jsonl", 16),
            "eval_dataset_path": write_rows(tmp_path / "eval.jsonl", f"{source}_heldout.jsonl", 4),
            "output_dir": str(tmp_path / "out"),
            "instruction_template": "tokenizer",
            "learning_rate": 2e-3,
            "warmup_ratio": 0.0,
            "per_device_train_batch_size": 4,
            "max_steps": 2,
            "eval_steps": 1,
            "save_steps": 1,
            "logging_steps": 1,
            **changes,
        }
    )
    return create_trl_trainer(method, config)


def logged(trainer: BaseTrainer, name: str) -> list[float]:
    return [row[name] for row in trainer.trainer.state.log_history if "loss" in row]


@pytest.mark.parametrize("method", METHODS)
def test_train_evaluate_save_load_and_predict(tmp_path, method):
    trainer = on_tiny_model(tmp_path, method)

    metrics = trainer.train()
    after = trainer.evaluate()
    path = trainer.save_model()
    answer = trainer.predict("مرحبا", max_length=4)

    assert metrics["train_loss"] > 0
    assert trainer.trainer.state.global_step == 2
    assert logged(trainer, "num_tokens")[-1] == trainer.trainer.state.num_input_tokens_seen > 0
    assert min(logged(trainer, "tokens_per_second")) > 0
    assert {"grad_norm", "learning_rate", "padding"} <= set(trainer.trainer.state.log_history[0])
    assert ("eval_perplexity" if method == "sft" else "eval_rewards/margins") in after

    fresh = on_tiny_model(tmp_path, method)
    fresh.load_model(path)
    assert fresh.predict("مرحبا", max_length=4) == answer
    loaded = fresh.evaluate()
    if method in (
        "dpo",
        "ipo",
        "kto",
    ):  # what is loaded is what training would start from, and so the reference
        assert loaded["eval_rewards/margins"] == pytest.approx(0, abs=1e-6)
    else:
        assert loaded["eval_loss"] == pytest.approx(after["eval_loss"], abs=1e-6)


def test_checkpoints_are_whole_and_hold_neither_pickled_arguments_nor_a_second_adapter(tmp_path):
    trainer = on_tiny_model(tmp_path, "dpo")
    trainer.train()
    path = trainer.save_model()
    checkpoint = tmp_path / "out" / "checkpoint-2"

    names = {p.name for p in checkpoint.iterdir()}
    assert "adapter_model.safetensors" in names
    assert not {"ref", "training_args.bin"} & names
    assert {p.suffix for p in path.iterdir()} <= {".safetensors", ".json", ".jinja", ".md"}
    assert json.loads((checkpoint / "trainer_state.json").read_text())["global_step"] == 2
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "checkpoint-1",
        "checkpoint-2",
        "final",
        "prepared",
    }
    assert trainer.trainer.state.best_model_checkpoint.startswith(str(tmp_path / "out" / "checkpoint-"))


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_plain_libraries_open_what_was_saved(tmp_path, lora):
    trainer = on_tiny_model(tmp_path, "simpo", use_lora=lora, save_strategy="no", evaluation_strategy="no")
    trainer.train()
    path = trainer.save_model(tmp_path / "model")

    loaded = (AutoPeftModelForCausalLM if lora else AutoModelForCausalLM).from_pretrained(str(path))
    ids = AutoTokenizer.from_pretrained(path)("مرحبا", return_tensors="pt")

    with torch.no_grad():
        torch.testing.assert_close(loaded(**ids).logits, trainer.model.eval()(**ids).logits)


def test_a_resumed_run_goes_on_from_its_checkpoint(tmp_path):
    whole = on_tiny_model(tmp_path, "dpo", evaluation_strategy="no")
    whole.train()
    resumed = on_tiny_model(tmp_path, "dpo", evaluation_strategy="no")
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))

    assert logged(resumed, "loss")[-1] == pytest.approx(logged(whole, "loss")[-1], abs=1e-6)
    assert logged(resumed, "num_tokens") == logged(whole, "num_tokens")


def test_a_copy_and_full_weights_start_at_the_reference_as_adapters_do(tmp_path):
    once = {"max_steps": 1, "evaluation_strategy": "no", "save_strategy": "no", "lora_dropout": 0.0}
    first = []
    for changes in ({}, {"reference": "copy"}, {"use_lora": False}):
        trainer = on_tiny_model(tmp_path, "dpo", **once, **changes)
        trainer.train()
        first += logged(trainer, "loss")

    assert first == pytest.approx([0.6931] * 3, abs=1e-4)


def test_the_reference_may_be_another_model(tmp_path):
    other = {"reference": "model", "ref_model_name": model_folder("llama")}
    config = settings("dpo", "qwen2", tmp_path, lora=True, **other)
    ours, theirs = both_engines("dpo", config, build_rows(ROLES["dpo"]))
    own = both_engines("dpo", settings("dpo", "qwen2", tmp_path, lora=True), build_rows(ROLES["dpo"]))[1]

    found = compute(theirs)
    assert_equal(compute(ours), found)
    assert abs(found.loss - compute(own).loss) > 1e-2


def test_a_run_reports_to_nobody(tmp_path, monkeypatch):
    def fail(**details):
        raise AssertionError(f"sent {details}")

    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", fail)
    monkeypatch.delenv("CI", raising=False)
    config = settings("dpo", "qwen2", tmp_path, lora=True)
    both_engines("dpo", config, build_rows(ROLES["dpo"]))[1].create_trainer()


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("sft", {"packing": False, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}),
        ("dpo", {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}),
        ("kto", {"use_lora": False}),
        ("simpo", {"use_lora": False}),
    ],
)
def test_whole_runs_agree_step_by_step(tmp_path, method, changes):
    given = {
        "lora": True,
        "learning_rate": 2e-3,
        "num_train_epochs": 5,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.2,
        "weight_decay": 0.1,
        "max_grad_norm": 0.5,
        "logging_steps": 1,
        **changes,
    }
    config = settings(method, "qwen2", tmp_path, given.pop("use_lora", given.pop("lora")), **given)
    ours, theirs = both_engines(
        method, config, build_rows(ROLES[method]), held_out=build_rows(ROLES[method], seed=1)
    )
    for trainer in (ours, theirs):
        trainer.train()

    for name in ("loss", "learning_rate", "grad_norm"):
        assert logged(theirs, name) == pytest.approx(logged(ours, name), rel=2e-4, abs=1e-4)
    assert len(logged(ours, "loss")) == 5
    assert logged(ours, "loss")[-1] < logged(ours, "loss")[0]
    if method == "dpo":
        found, expected = theirs.evaluate(), ours.evaluate()
        for name in ("eval_loss", "eval_rewards/margins", "eval_rewards/accuracies", "eval_logps/chosen"):
            assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("dpo", {"label_smoothing": 0.1}, "label_smoothing: 0.1, which TRL's DPO ignores"),
        ("ipo", {"label_smoothing": 0.1}, "label_smoothing: 0.1, but TRL's IPO has no"),
        ("ipo", {"length_normalization": "given"}, "length_normalization: given, but TRL's IPO averages"),
        ("kto", {"per_device_train_batch_size": 1}, "per_device_train_batch_size: 1, but TRL's KTO"),
        ("cpo", {"multi_negative": "softmax"}, "multi_negative: softmax over all candidates"),
    ],
)
def test_a_setting_without_an_equal_is_refused_with_the_way_out(method, changes, message):
    with pytest.raises(SpecError, match=message) as caught:
        create_trl_trainer(method, METHODS[method].config(**changes))
    assert "or use engine: tadrib." in str(caught.value)


@pytest.mark.parametrize(
    ("method", "roles", "masked", "message"),
    [
        (
            "cpo",
            ["chosen", "rejected", "rejected"],
            False,
            r"6 of 6 rows \(first: row 1\) have several rejected",
        ),
        (
            "dpo",
            ["chosen", "rejected", "rejected"],
            False,
            "have several rejected answers, but TRL compares pairs",
        ),
        ("cpo", ["chosen", "hard_negative"], False, "have hard_negatives, which TRL does not support"),
        ("dpo", ["chosen", "rejected"], True, "only some tokens are trained"),
    ],
)
def test_rows_without_an_equal_are_refused_with_the_way_out(tmp_path, method, roles, masked, message):
    config = settings(method, "qwen2", tmp_path, lora=True)
    _, theirs = both_engines(method, config, build_rows(roles, masked=masked))

    with pytest.raises(SpecError, match=message) as caught:
        theirs.train()
    assert "or use engine: tadrib." in str(caught.value)
