# SPDX-License-Identifier: Apache-2.0
"""``ddp_find_unused_parameters: null``: DDP looks for weights without a gradient where the model may have some."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoTokenizer

from tadrib.training.adapters.lora import add_lora
from tadrib.training.config import SFTConfig
from tadrib.training.loop.arguments import training_arguments
from tadrib.training.loop.unused_weights import may_lack_gradients
from tadrib.training.sft_trainer import SFTTrainer
from tests.architectures.families import build
from tests.test_trajectories import fields
from tests.tiny import tiny_model
from tests.workers import run_workers

INDEXED = "DeepSeek V3.2"
"""Its indexer picks keys by the largest scores, through which no gradient flows."""


class Experts(nn.Module):
    """A mixture as code on the Hub has it: every expert a module, and only those chosen run."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(48, 4)
        self.each = nn.ModuleList(nn.Linear(48, 48) for _ in range(4))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        weights, chosen = self.router(inputs).softmax(-1).max(-1)
        output = torch.zeros_like(inputs)
        for number in chosen.unique().tolist():
            here = chosen == number
            output[here] = weights[here, None] * self.each[number](inputs[here])
        return output


@pytest.mark.parametrize(
    "name", ["Qwen2, Qwen2.5", "Qwen3-MoE", "GPT-OSS", "Gemma 3n (text)", "Jamba", "Mamba 2"]
)
def test_most_models_give_every_weight_a_gradient(name):
    assert not may_lack_gradients(build(name))


def test_experts_of_their_own_and_choices_without_gradient_leave_weights_without():
    mixture = build("Qwen2, Qwen2.5")
    mixture.model.layers[1].mlp = Experts()

    assert may_lack_gradients(mixture)
    assert may_lack_gradients(build(INDEXED))
    assert not may_lack_gradients(add_lora(mixture, SFTConfig()))


@pytest.mark.parametrize(("written", "decided"), [(None, True), (False, False), (True, True)])
def test_null_is_decided_by_the_model_and_a_value_stands(written, decided, tmp_path):
    config = SFTConfig(ddp_find_unused_parameters=written, output_dir=str(tmp_path))

    assert training_arguments(config, model=build(INDEXED)).ddp_find_unused_parameters is decided
    if written is None:
        assert not training_arguments(config, model=build("Llama 2, 3")).ddp_find_unused_parameters


def train(given: dict) -> list[float]:
    trainer = SFTTrainer(SFTConfig(**given))
    trainer.train()
    return [row["loss"] for row in trainer.trainer.state.log_history if "loss" in row]


def test_two_workers_train_a_model_that_leaves_weights_without_gradient(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model())
    build(INDEXED, vocabulary=len(tokenizer)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    given = fields(
        tmp_path, model_name=str(tmp_path / "model"), use_lora=False, max_steps=3, gradient_checkpointing=True
    )

    alone = train(given)
    together, also = run_workers(2, train, given | {"per_device_train_batch_size": 2}, folder=tmp_path)

    assert together == also
    assert together == pytest.approx(alone, abs=1e-4)
