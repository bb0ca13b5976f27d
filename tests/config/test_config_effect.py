# SPDX-License-Identifier: Apache-2.0
"""Every key has a reader, and a key that was set for nothing is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tadrib.training
from tadrib.training.config import METHODS, JobSpec, SFTConfig, parse_spec, resolve
from tadrib.training.config.effect import CIRCUMSTANCES
from tadrib.training.config.resources import Resources
from tadrib.training.config.response_marks import RESPONSE_MARKS
from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.templates.chat_formats import CHAT_FORMATS
from tadrib.training.errors import SpecError
from tadrib.training.model.hardware import fit_to_hardware

SPEC = {"method": "sft", "name": "run", "dataset_path": "data/train.jsonl", "validation_split": 0.1}
# circumstance: (keys of the spec, the keys that are said to have no effect)
CASES = {
    "no_adapters": (
        {
            "use_lora": False,
            "lora_r": 8,
            "lora_alpha": 64,
            "lora_dropout": 0.0,
            "lora_target_modules": ["k_proj"],
            "rank_pattern": {"k_proj": 2},
            "alpha_pattern": {"k_proj": 2},
            "use_rslora": True,
            "use_dora": True,
            "lora_bias": True,
            "init_lora_weights": "pissa",
            "modules_to_save": ["norm"],
        },
        [
            "lora_r",
            "lora_alpha",
            "lora_dropout",
            "lora_target_modules",
            "rank_pattern",
            "alpha_pattern",
            "use_rslora",
            "use_dora",
            "lora_bias",
            "init_lora_weights",
            "modules_to_save",
        ],
    ),
    "not_evaluated_by_steps": ({"evaluation_strategy": "epoch", "eval_steps": 7}, ["eval_steps"]),
    "not_saved_by_steps": ({"save_strategy": "epoch", "save_steps": 7}, ["save_steps"]),
    "nothing_saved": ({"save_strategy": "no", "save_total_limit": 1}, ["save_total_limit"]),
    "no_best_model": (
        {"load_best_model_at_end": False, "metric_for_best_model": "eval_perplexity"},
        ["metric_for_best_model"],
    ),
    "steps_are_counted": ({"max_steps": 5, "num_train_epochs": 7}, ["num_train_epochs"]),
    "no_warmup": ({"lr_scheduler_type": "constant", "warmup_ratio": 0.05}, ["warmup_ratio"]),
    "nothing_skipped": ({"max_skipped_steps": 3}, ["max_skipped_steps"]),
    "nothing_copied_to_a_gpu": ({"dataloader_pin_memory": True}, ["dataloader_pin_memory"]),
    "one_worker": (
        {"ddp_backend": "gloo", "ddp_find_unused_parameters": True},
        ["ddp_backend", "ddp_find_unused_parameters"],
    ),
    "model_is_a_folder": ({"model_name": "/tmp", "model_revision": "v2"}, ["model_revision"]),
    "trl_guards_nothing": ({"engine": "trl", "on_nonfinite": "skip"}, ["on_nonfinite"]),
    "trl_keeps_no_cache": ({"method": "dpo", "engine": "trl", "reference": "cache"}, ["reference"]),
}


@pytest.mark.parametrize("circumstance", CASES)
def test_a_setting_without_effect_is_said(circumstance):
    keys, expected = CASES[circumstance]
    spec = parse_spec(SPEC | keys)
    resolved = resolve(spec)
    assert [each.key for each in resolved.idle] == expected
    assert all(str(each).startswith(f"{each.key}: ") and each.reason for each in resolved.idle)
    assert resolve(parse_spec(spec.to_mapping() | keys)).idle == resolved.idle, "a resolved spec says no more"


def test_every_circumstance_has_a_case_and_words():
    assert [each.reason.__name__ for each in CIRCUMSTANCES] == list(CASES)
    assert all(each.summary.endswith(".") for each in CIRCUMSTANCES)


@pytest.mark.parametrize("method", METHODS)
def test_defaults_are_never_said_to_have_no_effect(method):
    resolved = resolve(parse_spec(SPEC | {"method": method}))
    assert resolved.idle == ()
    assert resolve(parse_spec(resolved.spec.to_mapping())).idle == ()


def test_a_notebook_is_told_too(caplog):
    fit_to_hardware(SFTConfig(use_lora=False, lora_r=8, validation_split=0.1))
    assert "lora_r: 8 has no effect, because use_lora is false, so there are no adapters" in caplog.text


def test_every_key_is_read_somewhere_outside_the_configuration():
    root = Path(tadrib.training.__file__).parent
    files = [file for folder in (root, root.parent / "ray_jobs") for file in folder.rglob("*.py")]
    code = "\n".join(f.read_text(encoding="utf-8") for f in files if f.parent != root / "config")
    read = set(re.findall(r"(?:config|spec|resources|_?spec\.\w+)\.(\w+)|getattr\([\w.]+, \"(\w+)\"", code))
    read = {name for pair in read for name in pair}
    sections = [*(method.config for method in METHODS.values()), JobSpec, Resources]
    keys = {key for section in sections for key in section.model_fields}
    # read through the property that also knows the metric's own direction
    assert keys - {"greater_is_better"} <= read


@pytest.mark.parametrize("name", CHAT_FORMATS)
def test_a_chat_formats_own_mark_may_be_repeated_and_no_other(name):
    mark = RESPONSE_MARKS[name]
    assert CHAT_FORMATS[name].prompt(Dialogue("q", ())).endswith(mark)
    assert SFTConfig(instruction_template=name, response_template=mark).response_template == mark
    with pytest.raises(SpecError, match=rf"response_template: .* together with instruction_template: {name}"):
        SFTConfig(instruction_template=name, response_template=f"{mark} ")
