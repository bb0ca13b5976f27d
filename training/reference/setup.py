# SPDX-License-Identifier: Apache-2.0
"""Where a run's reference log-probs come from, by ``reference``: adapters off, a frozen model, or the cache."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from training.config.methods import PreferenceConfig, ReferencedConfig
from training.data.group import GroupDataset
from training.data.prepare import PreparedData
from training.engine.plan import EpochPlanner
from training.engine.reference_scores import ADAPTERS_OFF, Reference, frozen
from training.engine.self_check import probes
from training.loop.arguments import rows_per_step
from training.model.source import ModelSource
from training.reference.cached_scores import Wanted, with_scores
from training.reference.model import load_reference_model

if TYPE_CHECKING:
    from training.preference_trainer import PreferenceTrainer

logger = logging.getLogger("tadrib")


def setup_reference(trainer: PreferenceTrainer, data: PreparedData) -> tuple[Reference | None, PreparedData]:
    """The scorer of the trainer's reference, or data with the scores filled in; neither for methods without one.

    The cache is filled for held-out rows and for the training rows that the planned steps use. Collective: every worker
    scores a share of what is missing.
    """
    if not isinstance(trainer.config, ReferencedConfig):
        return None, data
    planner = _planner(trainer, data.train)
    steps = _planned_steps(trainer.config, planner)
    choice = choose_reference(trainer.config, steps / planner.steps_per_epoch)
    trainer.ready_strategy()
    logger.info("reference: %s", choice)
    if choice == "adapter_off":
        trainer.ready_model()
        return ADAPTERS_OFF, data
    if choice == "cache":
        held_out = [] if data.eval is None else [Wanted(data.eval, range(len(data.eval)))]
        wanted = [Wanted(data.train, planner.used_within(steps)), *held_out]
        filled = with_scores(wanted, trainer.config, trainer.reference_cache, _source(trainer))
        return None, PreparedData(filled[0], filled[1] if held_out else None, data.report)
    model = load_reference_model(trainer.config, _source(trainer))
    return frozen(model, probes(data.train, data.eval)), data


def choose_reference(config: ReferencedConfig, passes: float) -> str:
    """What ``reference: auto`` means here, the choice itself otherwise.

    ``passes`` is how often the planned steps go through the training rows. With adapters and no row used twice,
    switching them off costs a forward a row and no memory. Over several epochs the cache costs that forward once; and
    with full weights it spares the second model.
    """
    if config.reference != "auto":
        return config.reference
    return "adapter_off" if config.use_lora and passes <= 1 and config.ref_model_name is None else "cache"


def with_missing_scores(trainer: PreferenceTrainer, groups: GroupDataset) -> GroupDataset:
    """``groups`` of the training data with the scores that the planned steps had no use for. Collective."""
    if not isinstance(trainer.config, ReferencedConfig) or trainer.ready_trainer().reference is not None:
        return groups
    wanted = [Wanted(groups, range(len(groups)))]
    return with_scores(wanted, trainer.config, trainer.reference_cache, _source(trainer))[0]


def _planner(trainer: PreferenceTrainer, groups: GroupDataset) -> EpochPlanner:
    """The plan of the steps' groups, which no number of workers changes."""
    config = trainer.config
    return EpochPlanner(
        groups.num_tokens,
        rows_per_step=rows_per_step(config, trainer.planned_workers),
        bin_tokens=config.max_tokens_per_batch,
        seed=config.seed,
    )


def _planned_steps(config: PreferenceConfig, planner: EpochPlanner) -> int:
    """As transformers counts them."""
    if config.max_steps > 0:
        return config.max_steps
    return math.ceil(config.num_train_epochs * planner.steps_per_epoch)


def _source(trainer: PreferenceTrainer) -> ModelSource:
    """The reference model: ``ref_model_name``, or what training starts from."""
    return ModelSource.reference(trainer.config) or trainer.start
