# SPDX-License-Identifier: Apache-2.0
"""Evaluation without held-out rows, and early stopping that can never act: both are done, with a warning."""

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
"""Maximum number of training rows evaluated in place of held-out ones."""


def training_sample(train: Any, seed: int) -> Any:
    """Up to `SAMPLE` training rows, chosen by ``seed``, with a warning that they are not held out."""
    count = min(SAMPLE, len(train))
    warn(
        f"evaluate: no rows are held out, so this measures {count:,} of the {len(train):,} training rows: how well"
        " they are memorized, not how the model generalizes. Set validation_split: 0.05 or eval_dataset_path to hold"
        " rows out."
    )
    chosen = sorted(random.Random(seed).sample(range(len(train)), count))
    return train.select(chosen) if hasattr(train, "select") else Subset(train, chosen)


class EarlyStoppingWatch(TrainerCallback):
    """Warns at the start if a run is evaluated too rarely for early stopping ever to act."""

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
