# SPDX-License-Identifier: Apache-2.0
"""What both sides of a benchmark share: the model, the rows, the LoRA, the training arguments and the clock."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

VOCABULARY = 49_152


SHAPES: dict[str, dict[str, Any]] = {
    "SmolLM2-135M": {
        "vocab_size": VOCABULARY,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
    "Qwen2.5-0.5B": {
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "Qwen2.5-1.5B": {
        "vocab_size": 151_936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "Qwen2.5-7B": {
        "vocab_size": 152_064,
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
    "tiny": {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "tie_word_embeddings": True,
    },
}
"""Widths of the models that a benchmark builds with random weights, from their config.json."""


def build_model(case: dict, attention: str) -> torch.nn.Module:
    """A random Qwen2 of ``case``'s ``shape`` (SmolLM2-135M), ``layers``, ``dtype`` (float32) and ``device`` (cpu)."""
    torch.manual_seed(0)
    config = Qwen2Config(
        **SHAPES[case.get("shape", "SmolLM2-135M")],
        num_hidden_layers=case["layers"],
        attn_implementation=attention,
    )
    default = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, case.get("dtype", "float32")))
    try:
        with torch.device(case.get("device", "cpu")):
            return Qwen2ForCausalLM(config)
    finally:
        torch.set_default_dtype(default)


def lora_config() -> LoraConfig:
    """r=16 on q_proj and v_proj without dropout."""
    return LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")


def draw_lengths(count: int, median: int, sigma: float, largest: int, seed: int) -> list[int]:
    """Lognormal lengths in tokens, as chat data have them: many short ones, a long tail, cut at ``largest``."""
    drawn = np.random.default_rng(seed).lognormal(np.log(median), sigma, count)
    return [int(n) for n in np.clip(drawn, 4, largest)]


def draw_tokens(count: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(10, VOCABULARY, count).tolist()


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer over the ids themselves, for trainers that insist on one."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<eos>": 0, **{f"t{i}": i for i in range(1, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")


def training_arguments(
    folder: str, case: dict, *, kind: type[TrainingArguments] = TrainingArguments, **options: Any
) -> TrainingArguments:
    """One epoch that logs once, saves nothing and reports to nobody; ``kind`` is TRL's config class on its side.

    ``case`` may name a ``device`` (cpu) and a ``dtype`` (float32). In bfloat16 both sides compute under autocast, as
    TRL does unless it is told not to.
    """
    on_cpu = case.get("device", "cpu") == "cpu"
    settings = {
        "output_dir": folder,
        "per_device_train_batch_size": case["batch"],
        "num_train_epochs": 1,
        "learning_rate": 1e-5,
        "gradient_checkpointing": False,
        "bf16": case.get("dtype") == "bfloat16",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1000,
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
    }
    return kind(**settings | options)


class Clock(TrainerCallback):
    """Seconds of training to the end of its last optimizer step; on a GPU the first step, which sets up, counts as one
    of average length."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.started = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.started
        if args.device.type == "cuda" and state.global_step == 1:
            self.started = time.perf_counter()
        elif args.device.type == "cuda":
            self.seconds *= state.global_step / (state.global_step - 1)
