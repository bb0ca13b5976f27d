# SPDX-License-Identifier: Apache-2.0
"""How far what training computes for a model is from transformers' own forward of each sequence alone, in float32."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tadrib.training.data.group import Completion, Group
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.engine.collate import collate
from tadrib.training.engine.policy import install_scoring
from tadrib.training.engine.self_check import choose_scoring_path, probes
from tadrib.training.errors import TrainingError
from tests.architectures.families import VOCABULARY, WINDOW, build

Method = Literal["sft", "dpo"]
First = Literal["short", "long"]
FLOOR = 2e-5
"""What float32 sums in another order may make of log-probs."""
GRADIENT_FLOOR = 1e-4
"""And of a gradient relative to its norm. Tiny random models that carry state multiply what is rounded: the gradient of
Qwen3.5's is wrong by up to 8 times its norm in bfloat16, whose steps are 2**16 times those of float32."""
FACTOR = 1.5
"""How many times the error of transformers' own 16-bit forward a path in 16 bit may have."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What was found for one model: the path, its mean |log-prob error| and relative gradient error, and those of
    transformers' own forward in the same dtype; ``refused`` where no path is right."""

    path: str = ""
    why: str = ""
    error: float = 0.0
    gradient_error: float = 0.0
    plain_error: float = 0.0
    plain_gradient_error: float = 0.0
    refused: str = ""

    @property
    def is_right(self) -> bool:
        within = self.error <= FACTOR * self.plain_error + FLOOR
        return within and self.gradient_error <= FACTOR * self.plain_gradient_error + GRADIENT_FLOOR


def rows(method: Method, first: First, *, shortest_only: bool = False) -> list[Group]:
    """Four groups of rows within the window and two that cross it, the ``first`` kind first."""
    draw = random.Random(0)

    def tokens(low: int, high: int) -> list[int]:
        return [draw.randrange(3, VOCABULARY) for _ in range(draw.randint(low, high))]

    def groups(count: int, low: int, high: int) -> list[Group]:
        roles = ["response"] if method == "sft" else ["chosen", "rejected"]
        return [
            Group(tokens(low, high), [Completion(tokens(low, high), role) for role in roles], 0)
            for _ in range(count)
        ]

    short, long = groups(4, 3, WINDOW // 3), groups(2, WINDOW, 2 * WINDOW)
    if shortest_only:
        return short
    return short + long if first == "short" else long + short


def measure(name: str, dtype: torch.dtype, groups: Sequence[Group]) -> Cell:
    """Choose a path as a run of these rows would, and compare it on all of them."""
    truth, true_gradient = _alone(build(name), groups)
    plain, plain_gradient = _alone(build(name, dtype), groups)
    model = build(name, dtype)
    install_scoring(model)
    try:
        choice = choose_scoring_path(model, probes(GroupDataset.from_groups(groups)))
    except TrainingError as error:
        return Cell(refused=str(error))
    log_probs = model(**collate(groups, path=choice.path).model_inputs())
    gradient = _gradient(model, log_probs)
    return Cell(
        choice.path,
        "; ".join(f"{path}: {reason}" for path, reason in choice.rejected.items()),
        (log_probs - truth).abs().mean().item(),
        _relative(gradient, true_gradient),
        (plain - truth).abs().mean().item(),
        _relative(plain_gradient, true_gradient),
    )


def _alone(model: PreTrainedModel, groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
    found = []
    for group in groups:
        for completion in group.completions:
            ids = torch.tensor([[*group.prompt, *completion.tokens]])
            logits = model(input_ids=ids, use_cache=False).logits[0, len(group.prompt) - 1 : -1]
            targets = ids[0, len(group.prompt) :, None]
            found.append(logits.float().log_softmax(-1).gather(1, targets)[:, 0])
    log_probs = torch.cat(found)
    return log_probs.detach(), _gradient(model, log_probs)


def _gradient(model: PreTrainedModel, log_probs: Tensor) -> Tensor:
    """All weights' gradient as a vector, of a fixed weighting in which errors of opposite signs do not cancel."""
    model.zero_grad()
    (log_probs * torch.linspace(-1, 1, len(log_probs))).sum().backward()
    return torch.cat([p.grad.float().flatten() for p in model.parameters() if p.grad is not None])


def _relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()
