# SPDX-License-Identifier: Apache-2.0
"""The methods that learn from judged answers: their common base, then KTO, IPO, CPO and SimPO."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.distributed as dist
from torch import Tensor

from training.base_trainer import BaseTrainer
from training.config import CPOConfig, IPOConfig, KTOConfig, SimPOConfig
from training.config.methods import PreferenceConfig
from training.data.prepare import PreparedData
from training.engine.batch import PackedBatch
from training.engine.completions import completion_lengths, pairs_of, sum_by_completion, with_role
from training.engine.group_trainer import GroupTrainer
from training.losses.cpo import cpo_loss
from training.losses.ipo import answer_lengths, ipo_loss
from training.losses.kto import kl_estimate, kto_loss
from training.losses.simpo import simpo_loss
from training.preference_watch import PreferenceWatch
from training.references import setup_reference


class PreferenceTrainer(BaseTrainer):
    """Scores whole groups: the prompt once, and each of its answers after it."""

    config: PreferenceConfig

    def create_trainer(self) -> GroupTrainer:
        data = self.load_and_validate_dataset()
        reference, data = setup_reference(self, data)
        self.data = data
        budget = self.config.max_tokens_per_batch
        trainer = self.build_group_trainer(self.objective, bin_tokens=budget, reference=reference)
        trainer.add_callback(PreferenceWatch())
        return trainer

    @abstractmethod
    def objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """This method's loss on a batch, from the policy's token log-probs, [T]."""


class KTOTrainer(PreferenceTrainer):
    """Single answers with a label, against a baseline that all workers share."""

    method = "kto"
    config: KTOConfig

    def objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        scores = sum_by_completion(token_log_probs, batch)
        answers, baselines = with_role(batch, "completion"), with_role(batch, "kl")
        divergences = (scores[baselines] - batch.reference_scores[baselines]).detach()
        total = batch.weight * torch.stack([divergences.sum(), divergences.new_tensor(len(divergences))])
        if dist.is_initialized():
            dist.all_reduce(total)
        return kto_loss(
            scores[answers],
            batch.reference_scores[answers],
            batch.labels,
            kl_estimate(total[0], total[1]),
            beta=self.config.beta,
            desirable_weight=self.config.desirable_weight,
            undesirable_weight=self.config.undesirable_weight,
            num_examples=batch.step.groups,
        )


class IPOTrainer(PreferenceTrainer):
    """Pairs whose margin is pulled to a set distance."""

    method = "ipo"
    config: IPOConfig

    def objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        scores = sum_by_completion(token_log_probs, batch)
        tokens = completion_lengths(batch)
        lengths = answer_lengths(self.config.length_normalization, tokens, batch.given_lengths)
        chosen, rejected = pairs_of(batch)
        return ipo_loss(
            scores[chosen],
            scores[rejected],
            batch.reference_scores[chosen],
            batch.reference_scores[rejected],
            lengths[chosen],
            lengths[rejected],
            beta=self.config.beta,
            tau=self.config.tau,
            num_pairs=batch.step.pairs,
            label_smoothing=self.config.label_smoothing,
        )


class CPOTrainer(PreferenceTrainer):
    """A chosen answer against one or many negatives, without a reference."""

    method = "cpo"
    config: CPOConfig

    def objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        scores, lengths = sum_by_completion(token_log_probs, batch), completion_lengths(batch)
        chosen, negatives = with_role(batch, "chosen"), pairs_of(batch).rejected
        hard = torch.tensor([batch.roles[i] == "hard_negative" for i in negatives.tolist()])
        weights = torch.where(hard, self.config.hard_negative_weight, 1.0).to(scores.device)
        return cpo_loss(
            scores[chosen],
            scores[negatives],
            batch.group_of_completion[negatives],
            weights,
            beta=self.config.beta,
            num_groups=batch.step.groups,
            num_chosen_tokens=batch.step.chosen_targets,
            loss_type=self.config.loss_type,
            cpo_alpha=self.config.cpo_alpha,
            simpo_gamma=self.config.simpo_gamma,
            multi_negative=self.config.multi_negative,
            chosen_lengths=lengths[chosen],
            negative_lengths=lengths[negatives],
        )


class SimPOTrainer(PreferenceTrainer):
    """Pairs compared by log-prob per token, without a reference."""

    method = "simpo"
    config: SimPOConfig

    def objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        scores, lengths = sum_by_completion(token_log_probs, batch), completion_lengths(batch)
        chosen, rejected = pairs_of(batch)
        return simpo_loss(
            scores[chosen],
            scores[rejected],
            lengths[chosen],
            lengths[rejected],
            beta=self.config.beta,
            simpo_gamma=self.config.simpo_gamma,
            num_pairs=batch.step.pairs,
        )


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
