# SPDX-License-Identifier: Apache-2.0
"""The same random model and rows on both engines, and what each computes on one micro-batch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from tadrib.training.base_trainer import BaseTrainer
from tadrib.training.config import METHODS, CommonConfig
from tadrib.training.data.group import Completion, Group
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.data.prepare import PreparedData
from tadrib.training.trainers import create_trainer
from tadrib.training.trl_engine.engine import create_trl_trainer
from tests.engine.builders import VOCABULARY, build_model

ROLES = {
    "sft": ["response"],
    "kto": ["completion", "kl"],
    **{method: ["chosen", "rejected"] for method in ("dpo", "ipo", "cpo", "simpo")},
}
PROMPTS = [1, 70, 3, 30, 12, 2]
ANSWERS = [45, 1, 5, 25, 50, 2, 11]
"""Lengths in tokens; every answer of a row has another one."""


@cache
def model_folder(architecture: str) -> str:
    """A random model with a tokenizer that knows nothing but its padding token, saved once a session."""
    folder = Path(mkdtemp(prefix="tadrib-parity-")) / architecture
    build_model(architecture).save_pretrained(folder)
    words = {"<pad>": 0, "<eos>": 1} | {f"w{i}": i for i in range(2, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>").save_pretrained(
        folder
    )
    return str(folder)


def build_rows(
    roles: Sequence[str], *, masked: bool = False, prompts: Sequence[int] = PROMPTS, seed: int = 0
) -> list[Group]:
    """One group for each prompt length; ``masked`` leaves some tokens of each answer untrained."""
    draw = random.Random(seed)

    def tokens(length: int) -> list[int]:
        return [draw.randrange(2, VOCABULARY) for _ in range(length)]

    groups = []
    for row, length in enumerate(prompts):
        answers = [tokens(ANSWERS[(row + 2 * i) % len(ANSWERS)]) for i in range(len(roles))]
        masks = [[draw.random() < 0.6 for _ in a[:-1]] + [True] for a in answers] if masked else [None] * 9
        completions = [Completion(*each) for each in zip(answers, roles, masks, strict=False)]
        groups.append(Group(tokens(length), completions, row, label=row % 3 > 0 if "kl" in roles else None))
    return groups


def settings(method: str, architecture: str, folder: Path, lora: bool, **changes) -> CommonConfig:
    """A config for which all of `build_rows` is one micro-batch in float32, without dropout."""
    return METHODS[method].config(
        **{
            "model_name": model_folder(architecture),
            "output_dir": str(folder),
            "torch_dtype": "float32",
            "use_lora": lora,
            "lora_dropout": 0.0,
            "lora_target_modules": ["q_proj", "v_proj", "down_proj"],
            "per_device_train_batch_size": len(PROMPTS),
            "gradient_checkpointing": False,
            "evaluation_strategy": "no",
            "load_best_model_at_end": False,
            "save_strategy": "no",
            **changes,
        }
    )


def both_engines(
    method: str, config: CommonConfig, rows: list[Group], held_out: list[Group] | None = None
) -> tuple[BaseTrainer, BaseTrainer]:
    """Ours and TRL's trainer of the same rows."""
    data = PreparedData(
        GroupDataset.from_groups(rows), GroupDataset.from_groups(held_out) if held_out else None, report=None
    )
    return create_trainer(method, config, data), create_trl_trainer(method, config, data)


class Computed(NamedTuple):
    """Loss and gradient of one micro-batch; gradients by parameter name."""

    loss: float
    gradients: dict[str, Tensor]


def compute(trainer: BaseTrainer, step: float = 0.05) -> Computed:
    """What ``trainer``'s own loader and loss make of its only micro-batch.

    The policy is first moved away from the reference, by ``step`` times the same noise in every trainer of a kind;
    adapters get their B that way.
    """
    inner = trainer.get_trainer()
    trained = {name: p for name, p in inner.model.named_parameters() if p.requires_grad}
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name in sorted(trained):
            trained[name].add_(torch.randn(trained[name].shape, generator=noise), alpha=step)
    inner.model.train()
    [batch], _ = inner.get_batch_samples(iter(inner.get_train_dataloader()), 1, inner.args.device)
    loss = inner.compute_loss(inner.model, inner._prepare_inputs(batch))
    loss.backward()
    return Computed(loss.item(), {name: p.grad for name, p in trained.items()})


def assert_equal(ours: Computed, theirs: Computed) -> None:
    """Loss within 1e-5 and the whole gradient within 1e-4 of its norm."""
    assert abs(ours.loss - theirs.loss) < 1e-5
    assert ours.gradients.keys() == theirs.gradients.keys()
    found, expected = (torch.cat([g.flatten() for g in side.gradients.values()]) for side in (ours, theirs))
    assert expected.norm() > 1e-3
    assert (found - expected).norm() / expected.norm() < 1e-4
