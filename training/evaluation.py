# SPDX-License-Identifier: Apache-2.0
"""Evaluation that is asked of a run without held-out rows, or asked too rarely to act on: done, and said as what it
is."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from torch.utils.data import Subset
from transformers import (
    EarlyStoppingCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tadrib.training.notices import warn

SAMPLE = 256
"""Most training rows that stand in for held-out ones."""


def training_sample(train: Any, seed: int) -> Any:
    """Up to `SAMPLE` rows of the training data, the same for the same ``seed``; the user is told that no held-out row
    is among them."""
    count = min(SAMPLE, len(train))
    warn(
        f"evaluate: no rows are held out, so this measures {count:,} of the {len(train):,} training rows: how well"
        " they are learnt, not how the model does on others. Set validation_split: 0.05 or eval_dataset_path to"
        " have rows held out."
    )
    chosen = sorted(random.Random(seed).sample(range(len(train)), count))
    return train.select(chosen) if hasattr(train, "select") else Subset(train, chosen)


class EarlyStoppingWatch(TrainerCallback):
    """Says at the start where a run is evaluated too rarely for its early stopping ever to act."""

    def __init__(self, callbacks: Iterable[TrainerCallback]) -> None:
        self._callbacks = callbacks

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        by_steps = args.eval_strategy == "steps"
        times = -(-state.max_steps // state.eval_steps) if by_steps else state.num_train_epochs
        for callback in self._callbacks:
            if not isinstance(callback, EarlyStoppingCallback) or times > callback.early_stopping_patience:
                continue
            how = f"eval_steps is {state.eval_steps}" if by_steps else "it evaluates after each epoch"
            warn(
                f"callbacks: the EarlyStoppingCallback cannot stop this run of {state.max_steps:,} steps: {how}, too"
                f" rarely for its patience of {callback.early_stopping_patience} (evaluations in all: {times}). Set"
                " evaluation_strategy: steps with lower eval_steps."
            )
