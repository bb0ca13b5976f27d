# SPDX-License-Identifier: Apache-2.0
"""What this process trains on, and a config fitted to it."""

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
    """A copy of ``config`` whose defaults hold on this machine; the user is told of each change and of each setting
    without effect, with its key.

    ``has_eval_data`` tells of held-out rows that the config does not name; None goes by the config.

    Raises SpecError for a value that was set and cannot hold here.
    """
    device = local_device()
    kind: Literal["cpu", "cuda"] = "cuda" if device.type == "cuda" else "cpu"
    bf16 = kind == "cpu" or torch.cuda.is_bf16_supported()
    fitted, adjustments = adjust(config, device=kind, bf16=bf16, has_eval_data=has_eval_data)
    idle = without_effect(fitted.view().with_device(kind, "", bf16))
    for notice in (*adjustments, *idle):
        warn(str(notice))
    tell_of_preset(fitted)
    return fitted


def tell_of_preset(config: CommonConfig) -> None:
    """Say it where a DeepSpeed file that is not there stands for a preset."""
    if config.deepspeed is not None and (preset := preset_behind(config.deepspeed)):
        warn(f"deepspeed: there is no file {config.deepspeed}, so the preset of that name is used: {preset}.")
