# SPDX-License-Identifier: Apache-2.0
"""Where a run's reference log-probs come from, by ``reference``: adapters off, a frozen model, or the cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tadrib.training.config.methods import ReferencedConfig
from tadrib.training.data.group import GroupDataset
from tadrib.training.data.prepare import PreparedData
from tadrib.training.engine.plan import EpochPlanner
from tadrib.training.engine.reference_scores import Reference, frozen
from tadrib.training.engine.self_check import probes
from tadrib.training.loop.arguments import rows_per_step
from tadrib.training.model.source import ModelSource
from tadrib.training.reference.cached_scores import Wanted, with_scores
from tadrib.training.reference.model import load_reference_model


@dataclass(frozen=True)
class ReferenceSetup:
    """A run's reference: ``model`` scores, ``cache`` (a path or a URL) keeps the scores, and ``planned_workers`` are
    those that the global batch is made for, None for those that run."""

    config: ReferencedConfig
    model: ModelSource
    cache: str
    planned_workers: int | None = None

    def choose(self, train: GroupDataset) -> str:
        """What ``reference`` means for these training rows: adapter_off, copy or cache."""
        planner = self._planner(train)
        return choose_reference(self.config, self._planned_steps(planner) / planner.steps_per_epoch)

    def load(self, data: PreparedData) -> Reference:
        """The reference model, frozen, on the fastest path that is right for these rows."""
        model = load_reference_model(self.config, self.model)
        return frozen(model, probes(data.train, data.eval))

    def score(self, data: PreparedData) -> PreparedData:
        """``data`` with the scores of the held-out rows, and of the training rows that the planned steps use.

        Collective: every worker scores a share of what the cache lacks.
        """
        planner = self._planner(data.train)
        wanted = [Wanted(data.train, planner.used_within(self._planned_steps(planner)))]
        if data.eval is not None:
            wanted.append(Wanted(data.eval, range(len(data.eval))))
        train, *held_out = self._with_scores(wanted)
        return PreparedData(train, held_out[0] if held_out else None, data.report)

    def score_all(self, groups: GroupDataset) -> GroupDataset:
        """``groups`` of the training rows with the scores that the planned steps had no use for. Collective."""
        return self._with_scores([Wanted(groups, range(len(groups)))])[0]

    def _with_scores(self, wanted: Sequence[Wanted]) -> list[GroupDataset]:
        return with_scores(wanted, self.config, self.cache, self.model)

    def _planner(self, groups: GroupDataset) -> EpochPlanner:
        """The plan of the steps' groups, which no number of workers changes."""
        return EpochPlanner(
            groups.num_tokens,
            rows_per_step=rows_per_step(self.config, self.planned_workers),
            bin_tokens=self.config.max_tokens_per_batch,
            seed=self.config.seed,
        )

    def _planned_steps(self, planner: EpochPlanner) -> int:
        """As transformers counts them."""
        if self.config.max_steps > 0:
            return self.config.max_steps
        return math.ceil(self.config.num_train_epochs * planner.steps_per_epoch)


def choose_reference(config: ReferencedConfig, passes: float) -> str:
    """What ``reference: auto`` means here, the choice itself otherwise.

    ``passes`` is how often the planned steps go through the training rows. With adapters and no row used twice,
    switching them off costs a forward a row and no memory. Over several epochs the cache costs that forward once; and
    with full weights it spares the second model.
    """
    if config.reference != "auto":
        return config.reference
    return "adapter_off" if config.use_lora and passes <= 1 and config.ref_model_name is None else "cache"
