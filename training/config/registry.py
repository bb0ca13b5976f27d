# SPDX-License-Identifier: Apache-2.0
"""Registry: the training methods, each with its parts. Parts that import torch or TRL are given by name, and imported
when they are used, so that validating a spec takes milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pkgutil import resolve_name
from typing import Any

from pydantic_core import PydanticKnownError

from tadrib.training.config.common import CommonConfig
from tadrib.training.config.methods import (
    CPOConfig,
    DPOConfig,
    IPOConfig,
    KTOConfig,
    SFTConfig,
    SimPOConfig,
)
from tadrib.training.errors import Problem, SpecError


@dataclass(frozen=True)
class Method:
    """A training method. Its parts are given as ``package.module:attribute``.

    ``config`` is the class of its settings, which also has its name; ``row`` its row model
    (`training.data.rows.models.Row`); ``trainer`` the trainer that combines config, rows and loss
    (`training.base_trainer.BaseTrainer`); ``trl`` its translation (`training.trl_engine.translation.Translation`),
    or None if TRL has no such method.
    """

    config: type[CommonConfig]
    row: str
    trainer: str
    trl: str | None = None

    @property
    def name(self) -> str:
        return self.config.method

    @cached_property
    def row_model(self) -> Any:
        return resolve_name(self.row)

    @cached_property
    def trainer_class(self) -> Any:
        return resolve_name(self.trainer)

    @cached_property
    def on_trl(self) -> Any:
        """Raises SpecError where TRL has no such method."""
        if self.trl is None:
            problem = Problem("engine", f"trl, which has no method {self.name}.", "Remove engine.")
            raise SpecError("TRL has no such method", [problem])
        return resolve_name(self.trl)


_ROWS = "tadrib.training.data.rows.models"
_PREFERENCE = "tadrib.training.preference_trainer"
_TRL = "tadrib.training.trl_engine.translation"

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(SFTConfig, f"{_ROWS}:SFTRow", "tadrib.training.sft_trainer:SFTTrainer", f"{_TRL}:SFT"),
        Method(DPOConfig, f"{_ROWS}:DPORow", "tadrib.training.dpo_trainer:DPOTrainer", f"{_TRL}:DPO"),
        Method(KTOConfig, f"{_ROWS}:KTORow", f"{_PREFERENCE}:KTOTrainer", f"{_TRL}:KTO"),
        Method(IPOConfig, f"{_ROWS}:IPORow", f"{_PREFERENCE}:IPOTrainer", f"{_TRL}:IPO"),
        Method(CPOConfig, f"{_ROWS}:CPORow", f"{_PREFERENCE}:CPOTrainer", f"{_TRL}:CPO"),
        Method(SimPOConfig, f"{_ROWS}:SimPORow", f"{_PREFERENCE}:SimPOTrainer", f"{_TRL}:SIMPO"),
    )
}
"""All methods by name, in the order of the documentation."""


def known_method(name: Any) -> Any:
    """Return ``name`` if it is a method; otherwise raise the error that pydantic raises for a Literal."""
    if isinstance(name, str) and name in METHODS:
        return name
    raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, METHODS))})


def method_of(config: CommonConfig) -> str:
    """The name of the method that ``config`` has settings for. Raises SpecError if there is none."""
    if config.method in METHODS:
        return config.method
    kinds = ", ".join(method.config.__name__ for method in METHODS.values())
    message = f"{type(config).__name__} is not the settings of a method."
    raise SpecError("no method to train", [Problem("config", message, f"Use one of {kinds}.")])
