# SPDX-License-Identifier: Apache-2.0
"""Compare a merge with the adapter model it was made of, token by token on held-out rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor, nn

from tadrib.training.config import CommonConfig
from tadrib.training.config.registry import method_of
from tadrib.training.data.group import Group
from tadrib.training.data.prepare import PreparedData, prepare_data
from tadrib.training.model.adapter_folder import AdapterFolder
from tadrib.training.model.load import load_model
from tadrib.training.model.merger.outcome import Agreement
from tadrib.training.model.source import ModelSource
from tadrib.training.model.tokenizer import load_tokenizer

ROWS = 64
"""Rows that are compared at most, each cut to `TOKENS`."""
TOKENS = 512


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to compare on, and what they are."""

    groups: Sequence[Group]
    title: str

    @classmethod
    def of_file(cls, file: str, config: CommonConfig) -> Rows:
        """The rows of a dataset, encoded as in training. Raises DataError and SpecError as training does."""
        alone = config.replace(dataset_path=file, eval_dataset_path=None, validation_split=0.0)
        data = prepare_data(alone, method_of(config), load_tokenizer(config))
        return cls(list(islice(data.train, ROWS)), f"rows of {file}")

    @classmethod
    def of_run(cls, data: PreparedData) -> Rows:
        """The held-out rows of a run, or training rows if it has none."""
        if data.eval is not None:
            return cls(list(islice(data.eval, ROWS)), "held-out rows")
        return cls(list(islice(data.train, ROWS)), "training rows, as none are held out")


@dataclass(frozen=True, slots=True)
class Reading:
    """Of each scored token, in order: its log-prob, float32 [T], and the token ranked first, int64 [T]."""

    log_probs: Tensor
    first: Tensor

    def agreement(self, other: Reading, base: str, rows: int) -> Agreement:
        difference = (self.log_probs - other.log_probs).abs().mean().item()
        same = (self.first == other.first).double().mean().item()
        return Agreement(base, difference, same, len(self.first), rows)


def load_trained(config: CommonConfig, adapter: AdapterFolder) -> PeftModel:
    """The adapter on its base model, as it was trained: quantized and in the dtype that ``config`` says."""
    base = load_model(config, adapter.base, trained=False)
    return PeftModel.from_pretrained(base, str(adapter.path)).eval()


def read_folder(folder: Path, config: CommonConfig, rows: Rows) -> Reading:
    """What the merged model in ``folder`` makes of ``rows``, computed in the dtype of ``config``."""
    # a value that was adjusted to the machine does not outlast `replace` by itself
    plain = config.replace(load_in_4bit=False, load_in_8bit=False, torch_dtype=config.torch_dtype)
    return read(load_model(plain, ModelSource("merged", str(folder)), trained=False), rows)


def read(model: nn.Module, rows: Rows) -> Reading:
    """Score the first completion of each row, such as the chosen answer."""
    log_probs, first = zip(*_readings(model.eval(), rows.groups), strict=True)
    return Reading(torch.cat(log_probs), torch.cat(first))


def _readings(model: nn.Module, groups: Sequence[Group]) -> Iterator[tuple[Tensor, Tensor]]:
    device = next(model.parameters()).device
    for group in groups:
        completion = group.completions[0]
        tokens = torch.tensor([*group.prompt, *completion.tokens][:TOKENS], device=device)
        start = len(group.prompt)
        if not start or len(tokens) <= start:
            continue
        with torch.no_grad():
            logits = model(input_ids=tokens[None], use_cache=False).logits[0, start - 1 : -1].float()
        scored = torch.tensor(completion.trained or [True] * len(completion.tokens))[: len(logits)]
        chosen = logits.log_softmax(-1).gather(1, tokens[start:, None])[:, 0]
        yield chosen.cpu()[scored], logits.argmax(-1).cpu()[scored]
