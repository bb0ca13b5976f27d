# SPDX-License-Identifier: Apache-2.0
"""What a trainer scores without gradient: the reference model, a step's baseline, and held-out sets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from tadrib.training.compat.transformers import Steps
from tadrib.training.config.metrics import PER_SOURCE
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.engine.gathering import gathered
from tadrib.training.engine.loader import PlannedBatches
from tadrib.training.engine.plan import SetsPlanner
from tadrib.training.engine.reference_scorer import ReferenceScorer
from tadrib.training.loop.meter import Meter
from tadrib.training.loop.objective import Baseline, Evaluator, Scored

TOTALS = ("tokens", "computed_tokens", "prompt_tokens_saved")
"""Metrics that are summed rather than averaged."""


class EvaluationMixin(Steps):
    """Mixin for a trainer of packed groups; it has to precede `Trainer` among the bases."""

    reference: ReferenceScorer | None
    baseline: Baseline | None
    summary: Callable[[dict[str, float]], dict[str, float]]
    eval_sets: dict[str, int]
    _evaluator: Evaluator
    _logged_at: float

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Any]:
        """The micro-batches of an optimizer step, each with the baseline estimated over all of them."""
        # Trainer fetches a whole step's micro-batches here, the only place where the step is seen before its gradients
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.baseline is None or not batches:
            return batches, None
        with self._without_gradient() as model:
            baseline = self.baseline.of(self._scored(model, (batch.baseline_batch for batch in batches)))
        return [replace(batch, baseline_batch=None, baseline=baseline) for batch in batches], None

    def evaluation_loop(
        self, dataloader: DataLoader, description: str, *_: Any, metric_key_prefix: str = "eval", **__: Any
    ) -> EvalLoopOutput:
        """Means over all held-out items, and those in `PER_SOURCE` over each of `eval_sets`.

        A method that compares items with all others (CPO's token counts, KTO's baseline) does so within each set.
        """
        planner = cast(SetsPlanner, cast(PlannedBatches, dataloader.dataset).planner)
        names = list(self.eval_sets) if len(planner.steps) == len(self.eval_sets) else [""]
        meter, meters = Meter(), {name: Meter() for name in names}
        with self._without_gradient() as model:
            scored = self._scored(model, dataloader, meter)
            for name, steps in zip(names, planner.steps, strict=True):
                for found, counts in self._evaluator(islice(scored, steps)) if steps else ():
                    meter.update(found, counts)
                    meters[name].update(found, counts)
        means = meter.drain(totals=TOTALS)
        del means["computed_tokens"]  # counts padding, which says nothing about the model
        means |= self.summary(means)
        for name, of_set in meters.items():
            means |= self._of_set(name, of_set.drain()) if name else {}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in means.items()}
        self._logged_at = time.perf_counter()  # evaluation is not part of training's tokens per second
        return EvalLoopOutput(None, None, metrics, num_samples=self.num_examples(dataloader))

    def _of_set(self, name: str, means: dict[str, float]) -> dict[str, float]:
        """The metrics in `PER_SOURCE` of the set ``name``, none if it has no rows."""
        found = means | self.summary(means) if means else {}
        return {f"{name}_{each}": found[each] for each in PER_SOURCE if each in found}

    @contextlib.contextmanager
    def _without_gradient(self) -> Iterator[Any]:
        """Inside this context, the model in evaluation mode and without gradient."""
        # DeepSpeed's engine gathers partitioned weights itself
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
        collated = batch.for_reference or batch
        return replace(batch, reference=self.reference.score(self.model, collated), for_reference=None)


def count_tokens(meter: Meter, batch: PackedBatch) -> None:
    """Add a batch's token counts, those named in `TOTALS`, to ``meter``."""
    computed = torch.tensor([float(batch.input_ids.numel())], device=batch.targets.device)
    counts = {
        "tokens": torch.full_like(computed, batch.num_tokens),
        "computed_tokens": computed,
        "prompt_tokens_saved": torch.full_like(computed, batch.prompt_tokens_saved),
    }
    meter.update(counts, counts=bool(batch.weight))
