# SPDX-License-Identifier: Apache-2.0
"""TRL 1.16.0: its trainers on rows that are tokenized already, without its model cards and its telemetry.

SFTTrainer has a setting for such rows (``dataset_kwargs: skip_prepare_dataset``); the others tokenize whatever they are
given: https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/dpo_trainer.py
"""

from __future__ import annotations

import warnings
from typing import Any

from datasets import Dataset
from trl import DPOTrainer, KTOTrainer
from trl.import_utils import TRLExperimentalWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TRLExperimentalWarning)  # the pinned version is the one that is tested
    from trl.experimental.cpo import CPOConfig, CPOTrainer

__all__ = ["CPOConfig", "Quiet", "TokenizedCPO", "TokenizedDPO", "TokenizedKTO"]

MADE_FOR = "1.16.0"


class Quiet:
    """Stands before a trainer of TRL's among the bases."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: TRL's card would lie beside the checkpoints."""

    def _send_telemetry(self) -> None:
        """Nothing: a run tells nobody about itself."""

    def forget_token_counts(self) -> None:
        """Leave TRL's ``num_tokens`` out of the next log: it counts no baselines and starts again at 0 in a resumed
        run."""
        for of_mode in getattr(self, "_metrics", {}).values():
            of_mode.pop("num_tokens", None)


class TokenizedDPO(DPOTrainer):
    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class TokenizedKTO(KTOTrainer):
    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class TokenizedCPO(CPOTrainer):
    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        return feature
