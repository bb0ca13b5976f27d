# SPDX-License-Identifier: Apache-2.0
"""Direct preference optimization on chosen and rejected answers."""

from __future__ import annotations

from tadrib.training.extras import explained

try:
    from torch import Tensor
except ImportError as error:
    raise explained(error) from error

from tadrib.training.config import DPOConfig
from tadrib.training.data.prepare import PreparedData
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.engine.completions import answers_of, pairs_of
from tadrib.training.losses.dpo import dpo_loss
from tadrib.training.preference_trainer import PreferenceTrainer


class DPOTrainer(PreferenceTrainer):
    """DPO: each rejected answer of a row forms a pair with the chosen one."""

    config: DPOConfig

    def objective(self, token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        return dpo_loss(
            pairs_of(answers_of(token_log_probs, batch), batch),
            beta=self.config.beta,
            loss_type=self.config.loss_type,
            label_smoothing=self.config.label_smoothing,
            sft_weight=self.config.sft_weight,
        )


def create_dpo_trainer(config: DPOConfig, data: PreparedData | None = None) -> DPOTrainer:
    """A trainer for ``config``; nothing is loaded before it is used."""
    return DPOTrainer(config, data)
