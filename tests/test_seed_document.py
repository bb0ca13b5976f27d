# SPDX-License-Identifier: Apache-2.0
"""The user's guide, block by block: each runs as it is written, on a tiny model and few rows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import EarlyStoppingCallback, TrainerCallback

from tadrib.training.base_trainer import BaseTrainer
from tadrib.training.config import METHODS, CPOConfig, DPOConfig, IPOConfig, KTOConfig, SFTConfig
from tadrib.training.dpo_trainer import create_dpo_trainer
from tadrib.training.errors import SpecError
from tadrib.training.preference_trainer import create_cpo_trainer, create_ipo_trainer, create_kto_trainer
from tadrib.training.sft_trainer import create_sft_trainer
from tests.tiny import tiny_model

on_a_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU answers")

# the guide's data formats, a row of each
ROWS = {
    "sft": {"instruction": "Translate to Arabic: Hello world", "response": "مرحبا بالعالم"},
    "dpo": {
        "prompt": "Explain quantum computing",
        "chosen": "Quantum computing uses quantum bits...",
        "rejected": "Quantum computing is just regular computing...",
    },
    "kto": {
        "prompt": "Write a poem about nature",
        "completion": "The trees whisper secrets...",
        "label": True,
    },
    "ipo": {
        "prompt": "Summarize this article",
        "chosen": "Brief summary...",
        "rejected": "Very long detailed summary...",
        "chosen_length": 50,
        "rejected_length": 200,
    },
    "cpo": {
        "prompt": "Explain climate change",
        "chosen": "Climate change refers to...",
        "rejected": ["Wrong explanation 1", "Wrong explanation 2"],
        "hard_negatives": ["Subtle wrong explanation"],
    },
}

COMMON = {
    "model_name": "Qwen/Qwen2.5-7B",
    "dataset_path": "data/training.jsonl",
    "output_dir": "./checkpoints",
    "learning_rate": 2e-4,
    "num_train_epochs": 3,
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
}
SPECIFIC = {
    "sft": {"packing": True, "instruction_template": "alpaca", "response_template": "### Response:\n"},
    "dpo": {
        "beta": 0.1,
        "loss_type": "sigmoid",
        "label_smoothing": 0.0,
        "max_prompt_length": 256,
        "ref_model_name": None,
    },
    "kto": {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
    "ipo": {"beta": 0.1, "tau": 0.1, "label_smoothing": 0.0},
    "cpo": {"beta": 0.1, "cpo_alpha": 1.0, "simpo_gamma": 1.0, "loss_type": "sigmoid"},
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def made_tiny(config, method: str, count: int = 8):
    """The guide's ``config`` with the tiny model in place of 7 billion weights, and its data file written."""
    config.model_name = tiny_model()
    rows = [dict(ROWS[method]) for _ in range(count)]
    for number, row in enumerate(rows):
        prompt = "instruction" if method == "sft" else "prompt"
        row[prompt] += f" ({number})\n"
        if method == "kto":
            row["label"] = number % 2 == 0
    path = Path(config.dataset_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return config


def losses_of(trainer: BaseTrainer) -> list[float]:
    return [row["loss"] for row in trainer.trainer.state.log_history if "loss" in row]


# --- the base class


def test_all_trainers_inherit_from_base_trainer():
    class CustomTrainer(BaseTrainer):
        def __init__(self, config):
            super().__init__(config)

        def create_trainer(self):
            return self.build_group_trainer(
                lambda scores, batch: (-scores.mean(), {"loss": -scores.detach()})
            )

    trainer = CustomTrainer(made_tiny(SFTConfig(dataset_path="data/sft.jsonl"), "sft"))
    trainer.setup_model_and_tokenizer()
    trainer.setup_lora()
    assert len(trainer.load_and_validate_dataset().train) == 8
    assert len(next(iter(trainer.get_data_loader())).rows) == 4
    trainer.train()
    fresh = CustomTrainer(trainer.config)
    fresh.load_model(trainer.save_model())
    assert fresh.predict("q", max_length=4) == trainer.predict("q", max_length=4)


# --- one section for each method


def test_supervised_fine_tuning():
    config = SFTConfig(
        model_name="Qwen/Qwen2.5-7B",
        dataset_path="data/sft_arabic.jsonl",
        output_dir="./checkpoints/sft",
        max_seq_length=512,
        packing=True,
        instruction_template="alpaca",
        learning_rate=2e-4,
        num_train_epochs=3,
        per_device_train_batch_size=4,
    )
    made_tiny(config, "sft")

    trainer = create_sft_trainer(config)
    trainer.train()
    response = trainer.generate_response("Explain machine learning in Arabic", max_length=256)
    assert isinstance(response, str)
    assert losses_of(trainer)


def test_direct_preference_optimization():
    config = DPOConfig(
        model_name="Qwen/Qwen2.5-7B",
        dataset_path="data/dpo_preferences.jsonl",
        output_dir="./checkpoints/dpo",
        beta=0.1,
        loss_type="sigmoid",
        max_prompt_length=256,
        max_length=512,
        learning_rate=5e-7,
        num_train_epochs=1,
    )
    made_tiny(config, "dpo")

    trainer = create_dpo_trainer(config)
    trainer.train()
    comparison = trainer.generate_comparison("What is artificial intelligence?", max_length=256)
    assert losses_of(trainer)[0] == pytest.approx(math.log(2), abs=1e-4), "the policy starts as its reference"
    assert comparison["trained_model_response"] == comparison["reference_model_response"]


KTO = {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0, "learning_rate": 1e-6}
IPO = {"beta": 0.1, "tau": 0.1, "label_smoothing": 0.0, "learning_rate": 5e-7}
CPO = {"beta": 0.1, "cpo_alpha": 1.0, "simpo_gamma": 1.0, "loss_type": "sigmoid", "learning_rate": 5e-7}


@pytest.mark.parametrize(
    ("method", "create", "config", "first_loss"),
    [
        ("kto", create_kto_trainer, KTOConfig(dataset_path="data/kto_feedback.jsonl", **KTO), 0.5),
        ("ipo", create_ipo_trainer, IPOConfig(dataset_path="data/ipo_preferences.jsonl", **IPO), 25.0),
        ("cpo", create_cpo_trainer, CPOConfig(dataset_path="data/cpo_preferences.jsonl", **CPO), None),
    ],
)
def test_preference_optimization_methods(method, create, config, first_loss):
    """Where policy and reference are equal, KTO's loss is ``1 - sigmoid(0)`` and IPO's ``(1 / (2 tau))^2``."""
    trainer = create(made_tiny(config, method))
    trainer.train()
    if first_loss is not None:
        assert losses_of(trainer)[0] == pytest.approx(first_loss, rel=1e-3)
    else:
        assert all(0 < loss < math.inf for loss in losses_of(trainer))


# --- the configuration guide


@pytest.mark.parametrize("method", SPECIFIC)
def test_common_and_method_specific_parameters(method):
    config = METHODS[method].config(**COMMON | SPECIFIC[method])
    given = COMMON | SPECIFIC[method]
    assert {key: getattr(config, key) for key in given} == given


def test_all_common_parameters_together_train_with_rows_held_out(caplog):
    config = made_tiny(SFTConfig(**COMMON), "sft", count=20)
    trainer = create_sft_trainer(config)
    trainer.train()
    used = trainer.config
    assert {key: getattr(used, key) for key in COMMON} == {key: getattr(config, key) for key in COMMON}
    assert (used.validation_split, len(trainer.data.train), len(trainer.data.eval)) == (0.05, 19, 1)
    assert (
        "validation_split: 0.05 instead of the default 0.0, because evaluation_strategy: steps" in caplog.text
    )
    best = trainer.trainer.state.best_metric
    assert trainer.evaluate()["eval_loss"] == pytest.approx(best, rel=2e-2), "the best checkpoint is loaded"


# --- the training pipeline


def test_standard_training_flow(caplog):
    config = SFTConfig(
        model_name="Qwen/Qwen2.5-7B",
        dataset_path="data/arabic_instructions.jsonl",
        output_dir="./checkpoints/sft_arabic",
    )
    made_tiny(config, "sft")

    trainer = create_sft_trainer(config)
    trainer.train()
    eval_results = trainer.evaluate()
    assert 0 < eval_results["eval_loss"] < math.inf
    trainer.save_model()
    response = trainer.predict("Explain AI in Arabic")

    assert isinstance(response, str)
    assert (Path("checkpoints/sft_arabic/final") / "adapter_model.safetensors").is_file()
    assert len(trainer.data.train) == 8, "every row is trained on"
    assert "measures 8 of the 8 training rows" in caplog.text


def test_advanced_training_with_custom_callbacks():
    seen = []

    class CustomLoggingCallback(TrainerCallback):
        def on_log(self, args, state, control, model=None, **kwargs):
            seen.append(type(model).__name__)

    config = made_tiny(SFTConfig(dataset_path="data/arabic_instructions.jsonl"), "sft")
    config.callbacks = [EarlyStoppingCallback(early_stopping_patience=3), CustomLoggingCallback()]

    trainer = create_sft_trainer(config)
    trainer.train()

    assert set(seen) == {"PeftModelForCausalLM"}
    assert len(trainer.data.eval) == 1, "early stopping has a score to watch"


# --- performance optimization


def test_memory_optimization():
    config = made_tiny(SFTConfig(dataset_path="data/sft.jsonl"), "sft")
    config.load_in_4bit = True
    config.load_in_8bit = False
    config.gradient_checkpointing = True
    config.per_device_train_batch_size = 2
    config.gradient_accumulation_steps = 8
    config.use_lora = True
    config.lora_r = 16

    trainer = create_sft_trainer(config)
    trainer.train()
    assert "Linear4bit" in {type(module).__name__ for module in trainer.model.modules()}
    assert trainer.trainer.global_batch == 16


def sped_up() -> SFTConfig:
    config = made_tiny(SFTConfig(dataset_path="data/sft.jsonl"), "sft")
    config.packing = True
    config.dataloader_num_workers = 4
    config.dataloader_pin_memory = True
    config.fp16 = True
    config.evaluation_strategy = "no"
    return config


@on_a_cpu
def test_speed_optimization_names_what_needs_a_gpu():
    with pytest.raises(SpecError, match="fp16: true, but this machine has no CUDA device") as caught:
        create_sft_trainer(sped_up())
    assert len(caught.value.problems) == 1


@on_a_cpu
def test_speed_optimization_trains_with_bf16_in_its_place(caplog):
    config = sped_up()
    config.fp16 = False
    config.bf16 = True
    trainer = create_sft_trainer(config)
    trainer.train()
    assert losses_of(trainer)
    assert "dataloader_pin_memory: true has no effect, because this run is on the CPU" in caplog.text


@on_a_cpu
def test_multi_gpu_training_names_what_needs_gpus():
    config = made_tiny(SFTConfig(dataset_path="data/sft.jsonl"), "sft")
    config.deepspeed = "configs/deepspeed_zero2.json"
    config.ddp_backend = "nccl"
    config.ddp_find_unused_parameters = False

    with pytest.raises(
        SpecError, match=r"ddp_backend: nccl, .* NCCL connects GPUs only\. .*ddp_backend: gloo"
    ):
        create_sft_trainer(config)


# --- troubleshooting


BLOCKS = {
    "out of memory": {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 16,
        "load_in_4bit": True,
        "gradient_checkpointing": True,
        "use_lora": True,
        "lora_r": 8,
    },
    "training instability": {
        "learning_rate": 1e-5,
        "max_grad_norm": 0.5,
        "warmup_ratio": 0.1,
        "per_device_train_batch_size": 8,
    },
    "poor performance": {"num_train_epochs": 5},
    "slow training": {
        "packing": True,
        "bf16": True,
        "dataloader_num_workers": 4,
        "gradient_accumulation_steps": 4,
    },
}


@pytest.mark.parametrize("block", BLOCKS)
def test_troubleshooting(block):
    config = made_tiny(SFTConfig(dataset_path="data/sft.jsonl"), "sft")
    for key, value in BLOCKS[block].items():
        setattr(config, key, value)
    trainer = create_sft_trainer(config)
    assert {key: getattr(trainer.config, key) for key in BLOCKS[block]} == BLOCKS[block]
    trainer.train()
    assert trainer.trainer.state.epoch == config.num_train_epochs
