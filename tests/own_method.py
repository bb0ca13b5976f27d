# SPDX-License-Identifier: Apache-2.0
"""A method that this repository does not have: ranking by a hinge on the difference of two answers' log-probs."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tadrib.training.config import Method, metrics
from tadrib.training.config.methods import PreferenceConfig
from tadrib.training.config.types import Positive
from tadrib.training.data.rows.models import PreferenceRow
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.engine.completions import answers_of, pairs_of
from tadrib.training.losses.answers import Pairs
from tadrib.training.losses.margins import pair_metrics
from tadrib.training.preference_trainer import PreferenceTrainer


class RankConfig(PreferenceConfig):
    """Rank the chosen answer above the rejected one."""

    method: ClassVar = "rank"
    facts: ClassVar = {"run.metrics": metrics.PREFERENCE}

    rank_margin: Positive = 1.0
    """Nats by which the chosen answer is to be more likely."""


class RankRow(PreferenceRow):
    """A preference row."""


def rank_loss(pairs: Pairs, *, rank_margin: float) -> tuple[Tensor, dict[str, Tensor]]:
    """``max(0, rank_margin - (c - r))`` of each pair."""
    chosen, rejected = pairs.chosen.log_probs, pairs.rejected.log_probs
    losses = (rank_margin - (chosen - rejected)).clamp_min(0)
    return losses.sum() / pairs.num_pairs, pair_metrics(losses, chosen, rejected, chosen, rejected)


class RankTrainer(PreferenceTrainer):
    """Joins config, rows and loss."""

    config: RankConfig

    def objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        pairs = pairs_of(answers_of(token_log_probs, batch), batch)
        return rank_loss(pairs, rank_margin=self.config.rank_margin)


RANK = Method(RankConfig, row="tests.own_method:RankRow", trainer="tests.own_method:RankTrainer")
