# SPDX-License-Identifier: Apache-2.0
"""Supervised fine-tuning on instruction-response pairs and conversations."""

from __future__ import annotations

from tadrib.training.extras import explained

try:
    from torch import Tensor
except ImportError as error:
    raise explained(error) from error

from tadrib.training.base_trainer import BaseTrainer
from tadrib.training.config import SFTConfig
from tadrib.training.data.prepare import PreparedData
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.loop.group_trainer import GroupTrainer, perplexity
from tadrib.training.losses.sft import sft_loss


class SFTTrainer(BaseTrainer):
    """SFT: trains on responses. With ``packing``, rows of ``max_seq_length`` tokens hold several isolated examples."""

    config: SFTConfig

    def create_trainer(self) -> GroupTrainer:
        return self.build_group_trainer(
            _objective,
            bin_tokens=self.config.max_seq_length if self.config.packing else None,
            summary=lambda means: {"perplexity": perplexity(means["loss"])},
        )

    def generate_response(self, instruction: str, max_length: int = 256) -> str:
        """The model's answer to ``instruction`` rendered as in training, of at most ``max_length`` new tokens."""
        return self.predict(instruction, max_length=max_length)


def _objective(token_log_probs: Tensor, batch: PackedBatch) -> tuple[Tensor, dict[str, Tensor]]:
    return sft_loss(token_log_probs, batch.step.targets)


def create_sft_trainer(config: SFTConfig, data: PreparedData | None = None) -> SFTTrainer:
    """A trainer for ``config``; nothing is loaded before it is used."""
    return SFTTrainer(config, data)
