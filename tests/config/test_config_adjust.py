# SPDX-License-Identifier: Apache-2.0
"""Defaults that cannot hold are adjusted and named; what the user set never is."""

from __future__ import annotations

import pytest
from transformers import EarlyStoppingCallback

from tadrib.training.config import (
    CPOConfig,
    DPOConfig,
    IPOConfig,
    KTOConfig,
    SFTConfig,
    adjust,
    parse_spec,
    resolve,
)
from tadrib.training.config.rules.adjusters import ADJUSTERS
from tadrib.training.errors import SpecError

DATA = {"validation_split": 0.1}
GPU = {"device": "cuda", "bf16": True}
OLD_GPU = {"device": "cuda", "bf16": False}
CPU = {"device": "cpu", "bf16": True}
# sentence: (settings, machine, what is adjusted to what)
CASES = {
    "nothing where all defaults hold": (DATA, GPU, {}),
    "the type on CPU": (DATA, CPU, {"torch_dtype": "float32"}),
    "nothing where bfloat16 was asked for on CPU": ({**DATA, "torch_dtype": "bfloat16"}, CPU, {}),
    "evaluation and best model without evaluation data": (
        {},
        GPU,
        {"evaluation_strategy": "no", "load_best_model_at_end": False},
    ),
    "a split where evaluation was asked for": (
        {"evaluation_strategy": "epoch"},
        GPU,
        {"validation_split": 0.05, "save_strategy": "epoch"},
    ),
    "a split where the best model was asked for": (
        {"load_best_model_at_end": True},
        GPU,
        {"validation_split": 0.05},
    ),
    "a split where scores were named": (
        {"metric_for_best_model": "eval_perplexity", "eval_steps": 100},
        GPU,
        {"validation_split": 0.05},
    ),
    "a split where early stopping watches": (
        {"callbacks": [EarlyStoppingCallback(3)]},
        GPU,
        {"validation_split": 0.05},
    ),
    "no split where evaluation was turned off": (
        {"evaluation_strategy": "no", "eval_steps": 100},
        GPU,
        {"load_best_model_at_end": False},
    ),
    "no split where none was wanted": (
        {"validation_split": 0.0, "eval_steps": 100},
        GPU,
        {"evaluation_strategy": "no", "load_best_model_at_end": False},
    ),
    "the best model where evaluation is off": (
        {"evaluation_strategy": "no"},
        GPU,
        {"load_best_model_at_end": False},
    ),
    "saving to the steps of evaluation": ({**DATA, "eval_steps": 300}, GPU, {"save_steps": 900}),
    "saving to rarer evaluation": ({**DATA, "eval_steps": 1500}, GPU, {"save_steps": 1500}),
    "evaluation to the steps of saving": ({**DATA, "save_steps": 250}, GPU, {"eval_steps": 250}),
    "nothing where save_steps is a multiple": ({**DATA, "eval_steps": 50, "save_steps": 100}, GPU, {}),
    "the best model where both steps were set and do not align": (
        {**DATA, "eval_steps": 40, "save_steps": 100},
        GPU,
        {"load_best_model_at_end": False},
    ),
    "saving to evaluation by epoch": (
        {**DATA, "evaluation_strategy": "epoch"},
        GPU,
        {"save_strategy": "epoch"},
    ),
    "evaluation to saving by epoch": (
        {**DATA, "save_strategy": "epoch"},
        GPU,
        {"evaluation_strategy": "epoch"},
    ),
    "the best model where nothing is saved": (
        {**DATA, "save_strategy": "no"},
        GPU,
        {"load_best_model_at_end": False},
    ),
    "the best model where both strategies were set and differ": (
        {**DATA, "evaluation_strategy": "epoch", "save_strategy": "steps"},
        GPU,
        {"load_best_model_at_end": False},
    ),
    "weights to float16 for fp16": ({**DATA, "fp16": True}, GPU, {"torch_dtype": "float16"}),
    "weights to float32 for fp16 without LoRA": (
        {**DATA, "fp16": True, "use_lora": False},
        GPU,
        {"torch_dtype": "float32"},
    ),
    "weights and mixed precision on a GPU without bfloat16": (
        DATA,
        OLD_GPU,
        {"torch_dtype": "float16", "fp16": True},
    ),
    "weights to float32 on a GPU without bfloat16 and without LoRA": (
        {**DATA, "use_lora": False},
        OLD_GPU,
        {"torch_dtype": "float32", "fp16": True},
    ),
    "nothing where float32 was asked for": ({**DATA, "torch_dtype": "float32"}, OLD_GPU, {}),
}


# sentence: (method's settings, what is adjusted to what, what follows unsaid)
NAMES = {
    "the length that was set by its other name": (
        DPOConfig(max_seq_length=1024),
        {"max_length": 1024},
        {},
    ),
    "the room for prompts with it": (
        KTOConfig(max_seq_length=128),
        {"max_length": 128, "max_prompt_length": 64},
        {},
    ),
    "nothing where the length has its own name": (DPOConfig(max_length=1024), {}, {"max_seq_length": 1024}),
    "nothing where both names say the same": (CPOConfig(max_length=1024, max_seq_length=1024), {}, {}),
    "tau that was set by TRL's name": (IPOConfig(beta=0.5), {"tau": 0.5}, {}),
    "nothing where tau has its own name": (IPOConfig(tau=0.5), {}, {"beta": 0.5}),
    "nothing in the example of the guide": (IPOConfig(beta=0.1, tau=0.1), {}, {}),
    "nothing in DPO's own beta": (DPOConfig(beta=0.5), {}, {}),
}


@pytest.mark.parametrize("sentence", NAMES)
def test_two_names_of_one_setting_say_the_same(sentence):
    config, expected, unsaid = NAMES[sentence]
    used, adjustments = adjust(config.replace(validation_split=0.1), **GPU)
    assert {each.key: each.used for each in adjustments} == expected
    assert {key: getattr(used, key) for key in expected | unsaid} == expected | unsaid
    assert adjust(used, **GPU) == (used, [])


@pytest.mark.parametrize("sentence", CASES)
def test_adjusts(sentence):
    given, machine, expected = CASES[sentence]
    config = SFTConfig(**given)
    before = config.model_dump()
    used, adjustments = adjust(config, **machine)
    assert {each.key: each.used for each in adjustments} == expected
    assert {key: getattr(used, key) for key in expected} == expected
    assert all(each.given == before[each.key] and each.reason for each in adjustments)
    assert config.model_dump() == before, "the config given stays as it is"
    assert used.model_fields_set == config.model_fields_set, "an adjusted value does not count as given"
    assert adjust(used, **machine) == (used, [])


def test_every_adjuster_has_words():
    assert all(each.summary.endswith(".") for each in ADJUSTERS)


@pytest.mark.parametrize(
    ("given", "machine", "said"),
    [
        ({"fp16": True}, CPU, r"fp16: true, but this machine has no CUDA device"),
        ({"ddp_backend": "nccl"}, CPU, r"ddp_backend: nccl, but this machine has no CUDA device"),
        (
            {"torch_dtype": "bfloat16"},
            OLD_GPU,
            r"torch_dtype: bfloat16, but this GPU does not compute in bfloat16",
        ),
        ({"bf16": True}, OLD_GPU, r"bf16: true, but this GPU does not compute in bfloat16"),
        (
            {"evaluation_strategy": "epoch", "validation_split": 0.0},
            GPU,
            r"evaluation_strategy: epoch, but neither eval_dataset_path",
        ),
        (
            {"callbacks": [EarlyStoppingCallback(3)], "evaluation_strategy": "no"},
            GPU,
            r"callbacks: an EarlyStoppingCallback, but evaluation_strategy is no",
        ),
        (
            {"load_best_model_at_end": True, "validation_split": 0.0},
            GPU,
            r"load_best_model_at_end: true, but evaluation_strategy is no",
        ),
    ],
)
def test_a_set_value_that_cannot_hold_is_an_error(given, machine, said):
    with pytest.raises(SpecError, match=said) as caught:
        adjust(DPOConfig(**given), **machine)
    assert len(caught.value.problems) == 1


def test_data_handed_over_in_python_counts_as_evaluation_data():
    used, _ = adjust(SFTConfig(evaluation_strategy="steps"), **GPU, has_eval_data=True)
    assert (used.evaluation_strategy, used.load_best_model_at_end) == ("steps", True)
    used, _ = adjust(SFTConfig(validation_split=0.1), **GPU, has_eval_data=False)
    assert used.evaluation_strategy == "no"


def test_rows_that_were_handed_over_are_not_split():
    with pytest.raises(SpecError, match="evaluation_strategy: steps, but neither eval_dataset_path"):
        adjust(SFTConfig(evaluation_strategy="steps"), **GPU, has_eval_data=False)


def test_callbacks_survive_adjusting():
    callback = object()
    assert adjust(SFTConfig(callbacks=[callback]), **CPU)[0].callbacks == [callback]


def test_an_adjustment_reads_as_a_sentence():
    _, adjustments = adjust(SFTConfig(), **CPU)
    assert str(adjustments[-1]) == (
        "torch_dtype: float32 instead of the default bfloat16, because this machine has no CUDA device and CPUs"
        " compute float32 faster"
    )


def test_resolving_tells_given_default_and_adjusted_apart():
    spec = parse_spec(
        {"method": "dpo", "name": "run", "dataset_path": "d", "beta": 0.1, "resources": {"num_workers": 2}}
    )
    resolved = resolve(spec)
    rows = {row.key: row for row in resolved.rows}
    assert (rows["beta"].value, rows["beta"].origin) == (0.1, "given")
    assert (rows["resources.num_workers"].value, rows["resources.num_workers"].origin) == (2, "given")
    assert (rows["lora_r"].value, rows["lora_r"].origin, rows["lora_r"].note) == (16, "default", "")
    assert (rows["torch_dtype"].value, rows["torch_dtype"].origin) == ("float32", "adjusted")
    assert rows["torch_dtype"].note.startswith("resources.gpus_per_worker is 0")
    assert rows["output_dir"].value == resolved.spec.config.output_dir == "./runs/run/checkpoints"
    assert "callbacks" not in rows
    assert {each.key for each in resolved.adjustments} == {
        "torch_dtype",
        "evaluation_strategy",
        "load_best_model_at_end",
    }
    assert spec.config.torch_dtype == "bfloat16"


def test_resolving_for_a_gpu_leaves_bfloat16_to_the_machine():
    spec = parse_spec(
        {"method": "sft", "name": "run", "dataset_path": "d", **DATA, "resources": {"gpus_per_worker": 1}}
    )
    assert resolve(spec).adjustments == ()
