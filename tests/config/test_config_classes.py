# SPDX-License-Identifier: Apache-2.0
"""The config classes as Python users meet them: names, defaults, and a SpecError for whatever is wrong."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from tadrib.training.config import METHODS, DPOConfig, KTOConfig, SFTConfig
from tadrib.training.config.common import NormalizationStep
from tadrib.training.errors import SpecError

COMMON = {
    "model_name": "Qwen/Qwen2.5-7B",
    "output_dir": "./checkpoints",
    "per_device_train_batch_size": 4,
    "per_device_eval_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "max_seq_length": 512,
    "torch_dtype": "bfloat16",
    "load_in_4bit": False,
    "load_in_8bit": False,
    "use_lora": True,
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.1,
    "lora_target_modules": ["q_proj", "v_proj"],
    "gradient_checkpointing": True,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "evaluation_strategy": "steps",
    "eval_steps": 500,
    "save_strategy": "steps",
    "save_steps": 1000,
    "save_total_limit": 3,
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "callbacks": [],
    "seed": 42,
    "max_steps": -1,
}
OWN = {
    "sft": {
        "learning_rate": 2e-4,
        "num_train_epochs": 3,
        "packing": True,
        "instruction_template": "auto",
        "response_template": "### Response:\n",
    },
    "dpo": {
        "learning_rate": 5e-7,
        "num_train_epochs": 1,
        "beta": 0.1,
        "loss_type": "sigmoid",
        "label_smoothing": 0.0,
        "max_prompt_length": 256,
        "max_length": 512,
        "ref_model_name": None,
        "reference": "auto",
        "sft_weight": 0.0,
        "instruction_template": "auto",
    },
    "kto": {
        "learning_rate": 1e-6,
        "num_train_epochs": 3,
        "beta": 0.1,
        "desirable_weight": 1.0,
        "undesirable_weight": 1.0,
        "max_prompt_length": 256,
        "max_length": 512,
    },
    "ipo": {
        "learning_rate": 5e-7,
        "num_train_epochs": 3,
        "beta": 0.1,
        "tau": 0.1,
        "label_smoothing": 0.0,
        "length_normalization": "tokens",
    },
    "cpo": {
        "learning_rate": 5e-7,
        "num_train_epochs": 3,
        "beta": 0.1,
        "cpo_alpha": 1.0,
        "simpo_gamma": 1.0,
        "loss_type": "sigmoid",
        "hard_negative_weight": 1.0,
        "multi_negative": "pairwise",
    },
    "simpo": {
        "learning_rate": 5e-7,
        "num_train_epochs": 3,
        "beta": 2.0,
        "simpo_gamma": 1.0,
        "max_length": 512,
    },
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_the_promised_defaults(method):
    config = METHODS[method].config()
    expected = COMMON | OWN[method]
    assert {key: getattr(config, key) for key in expected} == expected


def test_two_configs_do_not_share_their_lists():
    SFTConfig().lora_target_modules.append("k_proj")
    assert SFTConfig().lora_target_modules == ["q_proj", "v_proj"]


def test_a_misspelt_argument_names_the_nearest_one():
    with pytest.raises(SpecError, match=r"lora_rr: unknown key\. Did you mean lora_r\?"):
        SFTConfig(lora_rr=3)


def test_a_misspelt_attribute_names_the_nearest_one():
    with pytest.raises(SpecError, match=r"learning_rat: unknown key\. Did you mean learning_rate\?"):
        SFTConfig().learning_rat = 1e-4


def test_all_wrong_arguments_are_reported_together():
    with pytest.raises(SpecError) as caught:
        DPOConfig(beta=-1, lr=1e-4, loss_type="sigmoidal", load_in_4bit=True, load_in_8bit=True, lora_r=2.5)
    assert [problem.where for problem in caught.value.problems] == [
        "beta",
        "lr",
        "loss_type",
        "lora_r",
        "load_in_4bit",
    ]
    assert str(caught.value).startswith("DPOConfig: 5 problems\n  beta: must be > 0, got -1.\n")


def test_a_contradicting_assignment_names_both_keys_and_changes_nothing():
    config = SFTConfig(load_in_8bit=True)
    with pytest.raises(
        SpecError, match=r"load_in_4bit: true together with load_in_8bit.*Set load_in_8bit: false"
    ):
        config.load_in_4bit = True
    assert (config.load_in_4bit, config.load_in_8bit) == (False, True)
    assert config.model_fields_set == {"load_in_8bit"}


def test_an_assignment_of_a_wrong_type_is_refused_and_changes_nothing():
    config = SFTConfig()
    with pytest.raises(SpecError, match=r"lora_r: must be a whole number, got true"):
        config.lora_r = True
    assert config.lora_r == 16
    assert config.model_fields_set == set()


def test_assignments_of_the_user_guide_work_in_their_order():
    config = DPOConfig()
    config.load_in_4bit = True
    config.load_in_8bit = False
    config.gradient_checkpointing = True
    config.per_device_train_batch_size = 2
    config.dataloader_pin_memory = True
    config.fp16 = True
    config.evaluation_strategy = "no"
    config.deepspeed = "configs/deepspeed_zero2.json"
    config.ddp_backend = "nccl"
    config.ddp_find_unused_parameters = False
    callbacks = [object(), object()]
    config.callbacks = callbacks
    assert config.callbacks == callbacks


def test_replace_changes_several_settings_together():
    config = KTOConfig(lora_r=8)
    with pytest.raises(SpecError, match="max_prompt_length: must be < max_length"):
        config.max_prompt_length = 1024
    longer = config.replace(max_prompt_length=1024, max_length=2048)
    assert (longer.max_prompt_length, longer.max_length, longer.lora_r) == (1024, 2048, 8)
    assert longer.model_fields_set == {"max_prompt_length", "max_length", "lora_r"}
    assert config.max_length == 512


def test_paths_and_tuples_are_taken_from_python():
    config = SFTConfig(dataset_path=Path("data/train.jsonl"), lora_target_modules=("q_proj",))
    assert config.dataset_path == str(Path("data/train.jsonl"))
    assert config.lora_target_modules == ["q_proj"]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))])
def test_copies_remember_what_was_given(duplicate):
    config = SFTConfig(lora_r=8)
    assert duplicate(config) == config
    assert duplicate(config).model_fields_set == {"lora_r"}


def test_normalization_steps_are_those_of_the_data_package():
    steps = pytest.importorskip("tadrib.training.data.templates.normalization").STEPS
    assert set(NormalizationStep.__args__) == set(steps)


@pytest.mark.slow
def test_optimizer_and_scheduler_names_are_known_to_transformers():
    from tadrib.training.config.common import Optimizer, Scheduler

    names = pytest.importorskip("transformers.training_args").OptimizerNames
    shapes = pytest.importorskip("transformers.trainer_utils").SchedulerType
    assert set(Optimizer.__args__) <= {each.value for each in names}
    assert set(Scheduler.__args__) <= {each.value for each in shapes}
