# SPDX-License-Identifier: Apache-2.0
"""The trainer of each method, by the spec's ``method``."""

from __future__ import annotations

from training.base_trainer import BaseTrainer
from training.config import CommonConfig
from training.data.prepare import PreparedData
from training.dpo_trainer import DPOTrainer
from training.preference_trainer import CPOTrainer, IPOTrainer, KTOTrainer, SimPOTrainer
from training.sft_trainer import SFTTrainer

TRAINERS: dict[str, type[BaseTrainer]] = {
    trainer.method: trainer
    for trainer in (SFTTrainer, DPOTrainer, KTOTrainer, IPOTrainer, CPOTrainer, SimPOTrainer)
}


def create_trainer(method: str, config: CommonConfig, data: PreparedData | None = None) -> BaseTrainer:
    """A trainer for ``method``; raises KeyError for a name that `training.config` would have refused."""
    return TRAINERS[method](config, data)
