# SPDX-License-Identifier: Apache-2.0
"""The device that this process trains on, and a config adjusted to it."""

from __future__ import annotations

import os
from typing import Literal, TypeVar

import torch

from tadrib.training.config import CommonConfig, adjust
from tadrib.training.config.effect import without_effect
from tadrib.training.config.strategy import preset_behind
from tadrib.training.notices import warn

Config = TypeVar("Config", bound=CommonConfig)


def local_device() -> torch.device:
    """The GPU of this process's ``LOCAL_RANK``, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())


def fit_to_hardware(config: Config, *, has_eval_data: bool | None = None) -> Config:
    """A copy of ``config`` with its defaults adjusted to this machine. A warning names each change, and each setting
    without effect.

    ``has_eval_data`` says whether there are held-out rows, if the config does not tell (None: it does).

    Raises SpecError for an explicit value that is impossible here.
    """
    device = local_device()
    kind: Literal["cpu", "cuda"] = "cuda" if device.type == "cuda" else "cpu"
    bf16 = kind == "cpu" or torch.cuda.is_bf16_supported()
    fitted, adjustments = adjust(config, device=kind, bf16=bf16, has_eval_data=has_eval_data)
    idle = without_effect(fitted.view().with_device(kind, "", bf16))
    for notice in (*adjustments, *idle):
        warn(str(notice))
    warn_about_preset(fitted)
    return fitted


def warn_about_preset(config: CommonConfig) -> None:
    """Warn if the DeepSpeed file does not exist and its name selects a preset."""
    if config.deepspeed is not None and (preset := preset_behind(config.deepspeed)):
        warn(f"deepspeed: {config.deepspeed} does not exist, so the preset of that name is used: {preset}.")
