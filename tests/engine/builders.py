# SPDX-License-Identifier: Apache-2.0
"""Small random models and groups for engine tests."""

from __future__ import annotations

import random

import torch
from transformers import LlamaConfig, MistralConfig, PretrainedConfig, Qwen2Config, Qwen3Config

from tadrib.training.data.group import Completion, Group
from tadrib.training.engine.policy import install_scoring

VOCABULARY = 211
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
ARCHITECTURES: dict[str, PretrainedConfig] = {
    "qwen2": Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "llama": LlamaConfig(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16),
    "mistral-window": MistralConfig(**SHAPE, sliding_window=6),
}


def build_model(architecture: str, seed: int = 0) -> torch.nn.Module:
    """A random float32 causal LM whose forward can score; weights large enough that attention matters."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(ARCHITECTURES[architecture], attn_implementation="sdpa")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, 0.15)
    install_scoring(model)
    return model


def build_groups(count: int, completions: int, seed: int = 0, longest: int = 12) -> list[Group]:
    """Random groups of unequal lengths; every third completion leaves some tokens untrained."""
    draw = random.Random(seed)

    def tokens() -> list[int]:
        return [draw.randrange(VOCABULARY) for _ in range(draw.randint(1, longest))]

    groups = []
    for row in range(count):
        answers = []
        for i in range(completions):
            answer = tokens()
            mask = [draw.random() < 0.7 for _ in answer[:-1]] + [True] if (row + i) % 3 == 0 else None
            answers.append(Completion(answer, "chosen" if i == 0 else "rejected", mask))
        groups.append(Group(tokens(), answers, row))
    return groups


def gradient_of(model: torch.nn.Module) -> torch.Tensor:
    """All gradients of the model as one vector."""
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
