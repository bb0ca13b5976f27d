# SPDX-License-Identifier: Apache-2.0
"""Models of a few thousand random weights and adapters on them, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

VOCABULARY = 40
TOKENS = torch.arange(24).reshape(2, 12) % VOCABULARY


def save_model(folder: Path, seed: int = 0, dtype: torch.dtype = torch.float32, **settings: Any) -> str:
    """A Qwen2 of two layers; ``settings`` replace those of its config."""
    given: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "initializer_range": 0.5,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": 1,
    }
    torch.manual_seed(seed)
    Qwen2ForCausalLM(Qwen2Config(**given | settings)).to(dtype).save_pretrained(folder)
    return str(folder)


def save_gpt2(folder: Path) -> str:
    """A GPT-2 of two layers, whose weights are transposed."""
    torch.manual_seed(0)
    size = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, **size, eos_token_id=1, bos_token_id=1)
    ).save_pretrained(folder)
    return str(folder)


def save_fine_tune(base: str, folder: Path, seed: int, scale: float = 0.05) -> str:
    """``base`` with noise of ``scale`` added to all weights."""
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(scale * torch.randn(weight.shape).to(weight.dtype))
    model.save_pretrained(folder)
    return str(folder)


def save_adapter(base: str, folder: Path, seed: int = 0, scale: float = 0.1, **settings: Any) -> str:
    """A LoRA adapter on ``base``, all of its trainable weights random; ``settings`` are those of `LoraConfig`."""
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(seed)
    wrapped = get_peft_model(
        model, LoraConfig(**{"r": 4, "lora_alpha": 6, "task_type": "CAUSAL_LM"} | settings)
    )
    with torch.no_grad():
        for weight in wrapped.parameters():
            if weight.requires_grad:
                weight.add_(scale * torch.randn(weight.shape))
    wrapped.save_pretrained(folder)
    return str(folder)


def logits_of(folder: str | Path, adapter: str | None = None) -> torch.Tensor:
    """Logits [2, 12, V] for `TOKENS`, in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        return model.eval()(TOKENS).logits
