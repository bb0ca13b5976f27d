# SPDX-License-Identifier: Apache-2.0
"""`GroupTrainer`: transformers' Trainer over packed groups, for any method that scores tokens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.engine.loader import PlannedBatches, build_loader
from tadrib.training.engine.plan import EpochPlanner, SetsPlanner
from tadrib.training.engine.reference_scorer import ReferenceScorer
from tadrib.training.engine.router_loss import require_router_loss, router_coefficient
from tadrib.training.engine.self_check import choose_scoring_path, probes
from tadrib.training.loop.best import BestCheckpointMixin
from tadrib.training.loop.evaluating import TOTALS, EvaluationMixin, count_tokens
from tadrib.training.loop.meter import Meter
from tadrib.training.loop.nonfinite import NonfiniteGuard
from tadrib.training.loop.objective import Baseline, Evaluator, Objective, batch_by_batch
from tadrib.training.loop.schedule import ScheduleMixin
from tadrib.training.loop.utilization import flops_per_token, utilization
from tadrib.training.notices import warn

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Dtypes of autocast by accelerate's names; it has "no" and "fp8" as well."""


class GroupTrainer(ScheduleMixin, BestCheckpointMixin, EvaluationMixin):
    """Trains ``model`` (prepared by `install_scoring`) on groups.

    - ``bin_tokens`` packs each row of a micro-batch with groups up to that many tokens; None makes each group a row.
    - ``evaluator`` computes the metrics of a held-out set as a whole; by default ``objective`` does, batch by batch.
    - ``summary`` derives further evaluation metrics from the means of the others, such as perplexity from the loss.
    - ``reference`` scores batches whose reference log-probs were not precomputed.
    - ``baseline`` is estimated over a whole optimizer step before its first backward pass.
    - ``rows_per_step`` is the global batch size; by default it follows from ``args``.
    - ``eval_sets`` has the number of groups of each named set that the held-out groups consist of, in their order.
    - ``guard`` decides what happens on NaN; by default the run stops.
    """

    def __init__(
        self,
        *,
        objective: Objective,
        groups: GroupDataset,
        bin_tokens: int | None,
        model: nn.Module,
        args: TrainingArguments,
        evaluator: Evaluator | None = None,
        reference: ReferenceScorer | None = None,
        baseline: Baseline | None = None,
        rows_per_step: int | None = None,
        guard: NonfiniteGuard | None = None,
        eval_sets: Mapping[str, int] | None = None,
        summary: Callable[[dict[str, float]], dict[str, float]] = lambda means: {},
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=groups, **kwargs)
        self.objective = objective
        self._evaluator = evaluator or batch_by_batch(
            lambda log_probs, batch: self.objective(log_probs, batch)
        )
        self.bin_tokens = bin_tokens
        self.reference = reference
        self.baseline = baseline
        per_micro_batch = args.per_device_train_batch_size * args.world_size
        self.global_batch: int = rows_per_step or per_micro_batch * args.gradient_accumulation_steps
        self.summary = summary
        self.eval_sets = dict(eval_sets or {})
        # each micro-batch's loss is its share of the step's, so Trainer must not divide by the accumulation steps
        self.loss_is_scaled_for_ga = True
        samples = probes(groups, self.eval_dataset)
        self.router_coefficient = router_coefficient(model)
        if self.router_coefficient:
            require_router_loss(model, samples[0])
        self.path_choice = choose_scoring_path(
            model, samples, _AUTOCAST.get(self.accelerator.mixed_precision)
        )
        if self.path_choice.path != "packed":
            warn(self.path_choice.slower)
        self._guard = guard or NonfiniteGuard("stop", 0)
        self._guard.on_begin, self._guard.on_skip = self._begin_step, self._roll_back_step
        self.add_callback(self._guard)
        self._flops_per_token = flops_per_token(model)
        self._meter = Meter()
        self._logged_at = time.perf_counter()

    # --- data

    def get_train_dataloader(self) -> DataLoader:
        planner = EpochPlanner(
            self.train_dataset.num_tokens,
            rows_per_step=self.global_batch,
            num_workers=self.args.world_size,
            num_micro_batches=self.args.gradient_accumulation_steps,
            bin_tokens=self.bin_tokens,
            seed=self.args.seed,
        )
        role = None if self.baseline is None else self.baseline.role
        return self._loader(self.train_dataset, planner, baseline_role=role)

    def get_eval_dataloader(self, eval_dataset: GroupDataset | None = None) -> DataLoader:
        groups = self.eval_dataset if eval_dataset is None else eval_dataset
        sizes = list(self.eval_sets.values()) if groups is self.eval_dataset else []
        planner = SetsPlanner(
            groups.num_tokens,
            sizes or [len(groups)],
            rows_per_step=self.args.per_device_eval_batch_size * self.args.world_size,
            num_workers=self.args.world_size,
            bin_tokens=self.bin_tokens,
        )
        return self._loader(groups, planner)

    def _loader(
        self, groups: GroupDataset, planner: EpochPlanner | SetsPlanner, baseline_role: str | None = None
    ) -> DataLoader:
        batches = PlannedBatches(
            groups,
            planner,
            self.path_choice.path,
            self.args.process_index,
            reference_path=None if self.reference is None else self.reference.path,
            baseline_role=baseline_role,
        )
        return build_loader(
            batches,
            num_processes=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def num_examples(self, dataloader: DataLoader) -> int:
        return len(cast(PlannedBatches, dataloader.dataset).groups)

    def on_device(self, inputs: PackedBatch) -> PackedBatch:
        return inputs.to(self.args.device)

    # --- training

    def count_items(self, batch_samples: list[PackedBatch], device: torch.device) -> None:
        """Nothing to count or all-reduce: every batch carries the counts of its optimizer step."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: PackedBatch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        batch = self._with_reference(inputs)
        token_log_probs, router_loss = self._score_for_training(model, batch)
        loss, metrics = self.objective(token_log_probs, batch)
        if router_loss is not None:
            # averaged over the step's groups, as the objective is
            rows = len(batch.rows)
            loss = loss + self.router_coefficient * router_loss * rows / batch.step.groups
            metrics = metrics | {"aux_loss": router_loss.detach().expand(rows)}
        if not batch.weight:  # a placeholder's objective may be the NaN of an empty mean, and 0 * NaN is NaN
            loss = 0 * token_log_probs.sum()
        self._guard.record(loss, batch)
        self._meter.update(metrics, counts=bool(batch.weight))
        count_tokens(self._meter, batch)
        # DDP averages gradients over workers, but the step's loss is the sum of their shares
        return loss * self.accelerator.num_processes

    # --- steps that the guard skips

    def _begin_step(self) -> None:
        self._before_step = self.loss_to_log.clone(), self._meter.sums()

    def _roll_back_step(self) -> None:
        """Remove a skipped step from the logged means, and from the number of steps they are taken over."""
        loss, sums = self._before_step
        self._meter.restore(sums)
        self.forget_step(loss)

    def _score_for_training(self, model: nn.Module, batch: PackedBatch) -> tuple[Tensor, Tensor | None]:
        """Token log-probs [T], and the load-balancing loss if the model's config enables it."""
        if not self.router_coefficient:
            return model(**batch.model_inputs()), None
        return model(**batch.model_inputs(), with_router_loss=True)

    def floating_point_ops(self, inputs: PackedBatch) -> float:
        """FLOPs of a micro-batch, as `flops_per_token` counts them."""
        return inputs.num_tokens * self._flops_per_token

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            now = time.perf_counter()
            means = self._meter.drain(totals=TOTALS)
            tokens, computed = means.pop("tokens"), means.pop("computed_tokens")
            del means["loss"]  # the same mean as Trainer's own
            self.state.num_input_tokens_seen += int(tokens)
            logs |= means
            logs["num_tokens"] = self.state.num_input_tokens_seen
            logs["tokens_per_second"] = tokens / (now - self._logged_at)
            used = utilization(logs["tokens_per_second"], self._flops_per_token, self.args.world_size)
            if used is not None:
                logs["mfu"] = used
            logs["padding"] = 1 - tokens / computed  # share of computed tokens that are padding
            if self._guard.skipped and not math.isfinite(logs.get("grad_norm", 0.0)):
                del logs["grad_norm"]  # it belongs to a skipped step
            if self._guard.skipped:
                logs["skipped_steps"] = self._guard.skipped
            if self.checkpoint_seconds:
                logs["checkpoint_seconds"] = round(self.checkpoint_seconds, 3)
            self._logged_at = now
        super().log(logs, start_time)


def perplexity(loss: float) -> float:
    """``exp(loss)`` of a mean negative log-likelihood in nats; infinity where that would overflow a float."""
    return math.exp(loss) if loss < 700 else math.inf
