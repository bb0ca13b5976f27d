# SPDX-License-Identifier: Apache-2.0
"""Every name of ``optim`` moves weights, and a run that is resumed goes on with its states."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from transformers import Trainer

from tadrib.training.config import SFTConfig
from tadrib.training.config.common import Optimizer
from tadrib.training.loop.arguments import training_arguments
from tadrib.training.trainers import create_trainer
from tests.adapters.test_starting_points import config


@pytest.mark.parametrize("optim", get_args(Optimizer))
def test_an_optimizer_lowers_a_loss(tmp_path, optim):
    """The mean square of a layer's output; 64 x 128 weights are enough for states of 8 bits."""
    given = SFTConfig(optim=optim, learning_rate=1e-3, output_dir=str(tmp_path), torch_dtype="float32")
    kind, options = Trainer.get_optimizer_cls_and_kwargs(training_arguments(given))
    torch.manual_seed(0)
    layer, inputs = torch.nn.Linear(128, 64), torch.randn(32, 128)
    optimizer, losses = kind(layer.parameters(), **options), []
    for _ in range(5):
        losses.append(layer(inputs).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()

    assert losses[-1] < losses[0]
    assert options["lr"] == 1e-3
    if "8bit" in optim:
        assert optimizer.state[layer.weight]["state1"].dtype == torch.uint8


@pytest.mark.parametrize("optim", ["paged_adamw_8bit", "adafactor"])
def test_states_of_8_bits_and_of_rows_and_columns_are_resumed(tmp_path, optim):
    changes = {"optim": optim, "save_strategy": "steps", "save_steps": 1, "max_steps": 2, "use_lora": False}
    whole = create_trainer("sft", config(tmp_path, "sft", **changes))
    whole.train()
    resumed = create_trainer("sft", config(tmp_path, "sft", **changes, output_dir=str(tmp_path / "again")))
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))

    expected = dict(whole.model.named_parameters())
    for name, weight in resumed.model.named_parameters():
        assert torch.equal(weight, expected[name]), name
