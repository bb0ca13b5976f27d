# SPDX-License-Identifier: Apache-2.0
"""Where a run's reference log-probs come from (``reference``): adapters switched off, a frozen model, or the cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tadrib.training.config.methods import ReferencedConfig
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.data.prepare import PreparedData
from tadrib.training.engine.plan import EpochPlanner
from tadrib.training.engine.reference_scorer import ReferenceScorer, frozen_reference
from tadrib.training.engine.self_check import probes
from tadrib.training.loop.arguments import rows_per_step
from tadrib.training.model.source import ModelSource
from tadrib.training.reference.model import load_reference_model
from tadrib.training.reference.precompute import ScoreRequest, with_precomputed_scores


@dataclass(frozen=True)
class ReferenceSetup:
    """A run's reference ``model``, the ``cache`` (path or URL) for its scores, and the number of workers the global
    batch was planned for (None: those running)."""

    config: ReferencedConfig
    model: ModelSource
    cache: str
    planned_workers: int | None = None

    def choose(self, train: GroupDataset) -> str:
        """Resolve ``reference`` for these training rows: adapter_off, copy or cache."""
        planner = self._planner(train)
        return choose_reference(self.config, self._planned_steps(planner) / planner.steps_per_epoch)

    def load(self, data: PreparedData) -> ReferenceScorer:
        """The frozen reference model, on the fastest scoring path that is right for these rows."""
        model = load_reference_model(self.config, self.model)
        return frozen_reference(model, probes(data.train, data.eval))

    def score(self, data: PreparedData) -> PreparedData:
        """``data`` with scores for the held-out rows, and for the training rows that the planned steps use.

        Collective: each worker scores a share of what the cache lacks.
        """
        planner = self._planner(data.train)
        requests = [ScoreRequest(data.train, planner.used_within(self._planned_steps(planner)))]
        if data.eval is not None:
            requests.append(ScoreRequest(data.eval, range(len(data.eval))))
        train, *held_out = self._with_scores(requests)
        return PreparedData(train, held_out[0] if held_out else None, data.report)

    def score_all(self, groups: GroupDataset) -> GroupDataset:
        """``groups`` with all their scores, also those that the planned steps do not use. Collective."""
        return self._with_scores([ScoreRequest(groups, range(len(groups)))])[0]

    def _with_scores(self, requests: Sequence[ScoreRequest]) -> list[GroupDataset]:
        return with_precomputed_scores(requests, self.config, self.cache, self.model)

    def _planner(self, groups: GroupDataset) -> EpochPlanner:
        """The plan of which groups each step uses; it does not depend on the number of workers."""
        return EpochPlanner(
            groups.num_tokens,
            rows_per_step=rows_per_step(self.config, self.planned_workers),
            bin_tokens=self.config.max_tokens_per_batch,
            seed=self.config.seed,
        )

    def _planned_steps(self, planner: EpochPlanner) -> int:
        """The number of optimizer steps, computed as transformers does."""
        if self.config.max_steps > 0:
            return self.config.max_steps
        return math.ceil(self.config.num_train_epochs * planner.steps_per_epoch)


def choose_reference(config: ReferencedConfig, passes: float) -> str:
    """Resolve ``reference: auto``; any other value is returned as it is.

    ``passes`` is the number of epochs in the planned steps. With adapters and one epoch, switching them off costs one
    forward pass per row and no memory. Over several epochs the cache needs that forward pass only once, and with full
    fine-tuning it saves keeping a second model in memory. LoftQ's reference is in the trained model alone.
    """
    if config.reference != "auto":
        return config.reference
    if config.use_lora and config.init_lora_weights == "loftq" and config.ref_model_name is None:
        return "adapter_off"
    return "adapter_off" if config.use_lora and passes <= 1 and config.ref_model_name is None else "cache"
