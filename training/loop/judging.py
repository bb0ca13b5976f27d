# SPDX-License-Identifier: Apache-2.0
"""What a trainer scores without gradient: the reference, the baseline of a step, and held-out sets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from tadrib.training.compat.transformers import Steps
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.engine.gathering import gathered
from tadrib.training.engine.reference_scores import Reference
from tadrib.training.loop.meter import Meter
from tadrib.training.loop.objective import Baseline, Judge, Scored

TOTALS = ("tokens", "computed_tokens", "prompt_tokens_saved")
"""Metrics that are added up rather than averaged."""


class Judges(Steps):
    """Stands among the first bases of a trainer of packed groups."""

    reference: Reference | None
    baseline: Baseline | None
    summary: Callable[[dict[str, float]], dict[str, float]]
    _judge: Judge
    _logged_at: float

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Any]:
        """The micro-batches of an optimizer step, each with the baseline of them all."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.baseline is None or not batches:
            return batches, None
        with self._without_gradient() as model:
            baseline = self.baseline.of(self._scored(model, (batch.apart for batch in batches)))
        return [replace(batch, apart=None, baseline=baseline) for batch in batches], None

    def evaluation_loop(
        self, dataloader: DataLoader, description: str, *_: Any, metric_key_prefix: str = "eval", **__: Any
    ) -> EvalLoopOutput:
        meter = Meter()
        with self._without_gradient() as model:
            for found, counts in self._judge(self._scored(model, dataloader, meter)):
                meter.update(found, counts)
        means = meter.drain(totals=TOTALS)
        del means["computed_tokens"]
        means |= self.summary(means)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in means.items()}
        self._logged_at = time.perf_counter()
        return EvalLoopOutput(None, None, metrics, num_samples=self.num_examples(dataloader))

    @contextlib.contextmanager
    def _without_gradient(self) -> Iterator[Any]:
        """Within, the model as it scores between two steps, its dropout off."""
        model = self.model_wrapped if self.is_deepspeed_enabled else self.model
        was_training = model.training
        model.eval()
        with torch.no_grad(), gathered(model):
            yield model
        model.train(was_training)

    def _scored(
        self, model: nn.Module, inputs: Iterable[PackedBatch], meter: Meter | None = None
    ) -> Iterator[Scored]:
        for each in inputs:
            batch = self._with_reference(self.on_device(each))
            if meter is not None:
                count_tokens(meter, batch)
            yield model(**batch.model_inputs()), batch

    def _with_reference(self, batch: PackedBatch) -> PackedBatch:
        if self.reference is None or batch.reference is not None:
            return batch
        laid_out = batch.for_reference or batch
        return replace(batch, reference=self.reference.score(self.model, laid_out), for_reference=None)


def count_tokens(meter: Meter, batch: PackedBatch) -> None:
    """Add a batch's tokens to ``meter``, those of `TOTALS`."""
    computed = torch.tensor([float(batch.input_ids.numel())], device=batch.targets.device)
    counts = {
        "tokens": torch.full_like(computed, batch.num_tokens),
        "computed_tokens": computed,
        "prompt_tokens_saved": torch.full_like(computed, batch.prompt_tokens_saved),
    }
    meter.update(counts, counts=bool(batch.weight))
