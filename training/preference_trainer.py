# SPDX-License-Identifier: Apache-2.0
"""Preference methods: their common base, then KTO, IPO, CPO and SimPO."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import ClassVar

from tadrib.training.extras import explained

try:
    from torch import Tensor
except ImportError as error:
    raise explained(error) from error

from tadrib.training.base_trainer import BaseTrainer
from tadrib.training.config import CPOConfig, IPOConfig, KTOConfig, SimPOConfig
from tadrib.training.config.methods import PreferenceConfig, ReferencedConfig
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.data.prepare import PreparedData
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.engine.completions import (
    answers_of,
    chosen_tokens,
    completion_lengths,
    groups_of,
    judged_of,
    pairs_of,
)
from tadrib.training.engine.reference_scorer import ADAPTERS_OFF, ReferenceScorer
from tadrib.training.kto_baseline import STEP_BASELINE, divergence_of, shared_baseline
from tadrib.training.loop.group_trainer import GroupTrainer
from tadrib.training.loop.objective import Baseline, Metrics, Scored, batch_by_batch
from tadrib.training.losses.answers import JudgedAnswers
from tadrib.training.losses.cpo import cpo_loss
from tadrib.training.losses.ipo import answer_lengths, ipo_loss
from tadrib.training.losses.kto import kto_loss
from tadrib.training.losses.simpo import simpo_loss
from tadrib.training.model.source import ModelSource
from tadrib.training.preference_watch import PreferenceWatch
from tadrib.training.reference.setup import ReferenceSetup

logger = logging.getLogger("tadrib")


class PreferenceTrainer(BaseTrainer):
    """Base of the preference methods. It scores whole groups: a prompt once, followed by each of its answers."""

    config: PreferenceConfig
    baseline: ClassVar[Baseline | None] = None
    """The scalar that a method compares all answers of an optimizer step with; None if it has none."""

    def create_trainer(self) -> GroupTrainer:
        data = self.load_and_validate_dataset()
        reference, self.data = self._referenced(data)
        budget = self.config.max_tokens_per_batch
        trainer = self.build_group_trainer(
            self._watched_objective,
            evaluator=self.evaluate_batches,
            bin_tokens=budget,
            reference=reference,
            baseline=self.baseline,
            summary=self.summarize,
        )
        PreferenceWatch(self.config).first_of(trainer)
        return trainer

    def _eval_substitute(self) -> GroupDataset:
        groups, setup = super()._eval_substitute(), self._reference_setup()
        return (
            groups if setup is None or self.get_trainer().reference is not None else setup.score_all(groups)
        )

    def _reference_setup(self) -> ReferenceSetup | None:
        """The reference model's setup: ``ref_model_name``, or what training starts from. None for methods without a
        reference."""
        if not isinstance(self.config, ReferencedConfig):
            return None
        model = ModelSource.reference(self.config) or self.start
        return ReferenceSetup(self.config, model, self.reference_cache, self.planned_workers)

    def _referenced(self, data: PreparedData) -> tuple[ReferenceScorer | None, PreparedData]:
        """Either a scorer for the reference model, or ``data`` with its scores filled in; neither for methods without a
        reference."""
        setup = self._reference_setup()
        if setup is None:
            return None, data
        choice = setup.choose(data.train)
        logger.info("reference: %s", choice)
        self.prepare_strategy()
        match choice:
            case "adapter_off":
                self.get_model()
                return ADAPTERS_OFF, data
            case "cache":
                return None, setup.score(data)
            case _:
                return setup.load(data), data

    def _watched_objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, Metrics]:
        loss, metrics = self.objective(token_log_probs, batch)
        return loss, metrics | {"logps/chosen_per_token": chosen_tokens(token_log_probs, batch).detach()}

    def summarize(self, means: dict[str, float]) -> dict[str, float]:
        """Further metrics of a held-out set, derived from the ``means`` of the others."""
        return {}

    @abstractmethod
    def objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, Metrics]:
        """This method's loss and metrics on a batch, from the policy's token log-probs [T]."""

    def evaluate_batches(self, scored: Iterable[Scored]) -> Iterable[tuple[Metrics, bool]]:
        """This method's metrics on a held-out set; see `training.loop.objective.Evaluator`."""
        return batch_by_batch(self.objective)(scored)


class KTOTrainer(PreferenceTrainer):
    """KTO: single answers with a label, compared with a KL baseline shared by all answers of an optimizer step."""

    config: KTOConfig
    baseline = STEP_BASELINE

    def objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, Metrics]:
        return self._loss(judged_of(token_log_probs, batch), batch.step_baseline)

    def evaluate_batches(self, scored: Iterable[Scored]) -> Iterator[tuple[Metrics, bool]]:
        """One baseline for all held-out answers; training has one for each step."""
        found = [(judged_of(*each), divergence_of(*each), bool(each[1].weight)) for each in scored]
        baseline = shared_baseline([divergence for _, divergence, _ in found])
        for judged, _, counts in found:
            yield self._loss(judged, baseline)[1], counts

    def summarize(self, means: dict[str, float]) -> dict[str, float]:
        """The reward margin of unpaired answers: the difference of the two means, if there are both."""
        chosen, rejected = means.get("rewards/chosen"), means.get("rewards/rejected")
        return {} if chosen is None or rejected is None else {"rewards/margins": chosen - rejected}

    def _loss(self, judged: JudgedAnswers, baseline: Tensor) -> tuple[Tensor, Metrics]:
        return kto_loss(
            judged,
            baseline,
            beta=self.config.beta,
            desirable_weight=self.config.desirable_weight,
            undesirable_weight=self.config.undesirable_weight,
        )


class IPOTrainer(PreferenceTrainer):
    """IPO: the margin of each pair is regressed to a fixed target."""

    config: IPOConfig

    def objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, Metrics]:
        tokens = completion_lengths(batch)
        lengths = answer_lengths(self.config.length_normalization, tokens, batch.given_lengths)
        answers = replace(answers_of(token_log_probs, batch), lengths=lengths)
        return ipo_loss(
            pairs_of(answers, batch),
            beta=self.config.beta,
            tau=self.config.tau,
            label_smoothing=self.config.label_smoothing,
        )


class CPOTrainer(PreferenceTrainer):
    """CPO: a chosen answer against one or several negatives, without a reference model."""

    config: CPOConfig

    def objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, Metrics]:
        answers = answers_of(token_log_probs, batch)
        return cpo_loss(
            groups_of(answers, batch, hard_negative_weight=self.config.hard_negative_weight),
            beta=self.config.beta,
            loss_type=self.config.loss_type,
            cpo_alpha=self.config.cpo_alpha,
            simpo_gamma=self.config.simpo_gamma,
            multi_negative=self.config.multi_negative,
        )


class SimPOTrainer(PreferenceTrainer):
    """SimPO: pairs compared by log-prob per token, without a reference model."""

    config: SimPOConfig

    def objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, Metrics]:
        pairs = pairs_of(answers_of(token_log_probs, batch), batch)
        return simpo_loss(pairs, beta=self.config.beta, simpo_gamma=self.config.simpo_gamma)


def create_kto_trainer(config: KTOConfig, data: PreparedData | None = None) -> KTOTrainer:
    """A trainer for ``config``; nothing is loaded before it is used."""
    return KTOTrainer(config, data)


def create_ipo_trainer(config: IPOConfig, data: PreparedData | None = None) -> IPOTrainer:
    """A trainer for ``config``; nothing is loaded before it is used."""
    return IPOTrainer(config, data)


def create_cpo_trainer(config: CPOConfig, data: PreparedData | None = None) -> CPOTrainer:
    """A trainer for ``config``; nothing is loaded before it is used."""
    return CPOTrainer(config, data)


def create_simpo_trainer(config: SimPOConfig, data: PreparedData | None = None) -> SimPOTrainer:
    """A trainer for ``config``; nothing is loaded before it is used."""
    return SimPOTrainer(config, data)
