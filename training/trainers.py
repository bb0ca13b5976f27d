# SPDX-License-Identifier: Apache-2.0
"""The trainer class of each method, by the spec's ``method``."""

from __future__ import annotations

from tadrib.training.base_trainer import BaseTrainer
from tadrib.training.config import METHODS, CommonConfig
from tadrib.training.data.prepare import PreparedData


def create_trainer(
    method: str, config: CommonConfig, data: PreparedData | None = None, *, engine: str = "tadrib"
) -> BaseTrainer:
    """A trainer for ``method`` on our engine, or on TRL's own trainer with ``engine="trl"``.

    Raises KeyError for an unknown method (`training.config` refuses it earlier), and SpecError for settings that TRL
    does not support.
    """
    if engine == "trl":
        from tadrib.training.trl_engine.engine import create_trl_trainer  # loads TRL, which takes seconds

        return create_trl_trainer(method, config, data)
    return METHODS[method].trainer_class(config, data)
