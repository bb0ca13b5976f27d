# SPDX-License-Identifier: Apache-2.0
"""A run's merge beside its adapter model: on held-out rows, for both bases of a QLoRA adapter, and from the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from tadrib.ray_jobs.cli.app import app
from tadrib.training.config import load_spec
from tadrib.training.errors import SpecError
from tadrib.training.model_merger import create_model_merger
from tadrib.training.sft_trainer import create_sft_trainer
from tests.tiny import tiny_model, write_rows

SPEC = """
method: sft
name: run
model_name: {model}
dataset_path: {rows}
validation_split: 0.25
max_steps: 2
learning_rate: 1e-2
per_device_train_batch_size: 4
gradient_accumulation_steps: 1
lora_target_modules: all-linear
load_in_4bit: {quantized}
"""


def run_directory(folder: Path, quantized: bool) -> Path:
    """A run as `tadrib train` leaves it, as far as a merge looks: spec, prepared rows and final weights."""
    folder.mkdir()
    rows = write_rows(folder.parent / "rows.jsonl", "sft_train.jsonl", 24)
    text = SPEC.format(model=tiny_model(), rows=rows, quantized=str(quantized).lower())
    (folder / "spec.yaml").write_text(text)
    config = load_spec(folder / "spec.yaml").config.replace(output_dir=str(folder / "checkpoints"))
    trainer = create_sft_trainer(config)
    trainer.load_and_validate_dataset().save(folder / "data")
    trainer.train()
    trainer.save_model(folder / "final")
    return folder


@pytest.fixture(scope="module")
def quantized(tmp_path_factory) -> Path:
    return run_directory(tmp_path_factory.mktemp("runs") / "run", quantized=True)


def merged(*arguments: object) -> dict:
    """What `tadrib merge ... --json` prints."""
    result = CliRunner().invoke(app, ["merge", *map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout.splitlines()[-1])


def test_a_qlora_merge_is_compared_on_both_bases(quantized, tmp_path):
    """The dequantized base is what the adapter was trained on, so in float32 the merge is the adapter model up to the
    rounding of sums; the original base differs by the error of quantization, a tenth of a weight."""
    found = merged(quantized, "--base", "dequantized", "--dtype", "float32", "--output", tmp_path / "merged")
    ours, original = found["agreement"]
    assert (ours["base"], original["base"], found["measured_on"]) == (
        "dequantized",
        "original",
        "held-out rows",
    )
    assert ours["rows"] == 6
    assert ours["tokens"] > 6
    assert ours["log_prob_difference"] < 1e-3 < original["log_prob_difference"]
    assert ours["top1"] == 1 >= original["top1"]
    assert found["advice"] == []


def test_the_original_base_is_the_default_and_the_closer_one_is_advised(quantized):
    found = merged(quantized)
    assert found["path"] == str(quantized / "merged")
    assert [each["base"] for each in found["agreement"]] == ["original", "dequantized"]
    assert "merge again with --base dequantized" in found["advice"][0]
    written = json.loads((quantized / "merged" / "merge.json").read_text())
    assert written["agreement"] == found["agreement"]
    card = (quantized / "merged" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\nbase_model:\n- ")
    assert "base_model_relation: finetune" in card
    assert "Method: sft" in card
    assert "load_in_4bit: true" in card
    assert "original base: mean |Δ log-prob|" in card


def test_a_run_without_quantization_agrees_and_answers_as_its_trainer(tmp_path):
    run = run_directory(tmp_path / "run", quantized=False)
    found = merged(run)
    [ours] = found["agreement"]
    assert ours["log_prob_difference"] < 1e-3
    assert ours["top1"] > 0.99
    model, tokenizer = (
        each.from_pretrained(run / "merged") for each in (AutoModelForCausalLM, AutoTokenizer)
    )
    trainer = create_sft_trainer(load_spec(run / "spec.yaml").config)
    trainer.load_model(run / "final")
    instruction = "ما عاصمة مصر؟"
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": instruction}], tokenize=False, add_generation_prompt=True
    )
    prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    output = model.generate(**prompt, max_new_tokens=32, do_sample=False)
    answer = tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer.strip() == trainer.predict(instruction, max_length=32)
    with pytest.raises(SpecError, match="was not trained on a quantized base model"):
        create_model_merger(run / "final", tmp_path / "x", base="dequantized").merge()


def test_an_adapters_folder_is_measured_on_rows_that_are_given(quantized, tmp_path):
    final, rows = quantized / "final", quantized.parent / "rows.jsonl"
    found = merged(final, "--rows", rows, "--output", tmp_path / "a")
    assert found["measured_on"] == f"rows of {rows}"
    assert [each["base"] for each in found["agreement"]] == ["original"]
    merged(final, "--base", "dequantized", "--dtype", "float32", "--output", tmp_path / "b")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert 0.01 < ((one[name] - other[name]).norm() / one[name].norm()).item() < 0.3
    assert torch.equal(one["model.norm.weight"], other["model.norm.weight"])
