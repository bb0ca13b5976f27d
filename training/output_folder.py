# SPDX-License-Identifier: Apache-2.0
"""Protect what is already in the output folder of a trainer used from Python."""

from __future__ import annotations

import os
from pathlib import Path

from tadrib.training.config import CommonConfig
from tadrib.training.errors import Problem, SpecError
from tadrib.training.files.aside import set_aside
from tadrib.training.loop.checkpoint_manager import is_rank_zero
from tadrib.training.notices import warn


def final_folder(config: CommonConfig) -> Path:
    """Default folder of the trained model."""
    return Path(config.output_dir) / "final"


def require_source_kept(config: CommonConfig, target: Path) -> None:
    """Raise SpecError if saving to ``target`` would overwrite a model that training reads."""
    for key, source, mark in config.paths():
        if mark.holds == "model" and os.path.isdir(source) and Path(source).resolve() == target.resolve():
            message = (
                f"{source} is also where the trained model is saved ({target}), which would overwrite it."
            )
            action = "Set output_dir to another folder, one for each training."
            raise SpecError("a source model would be overwritten", [Problem(key, message, action)])


def keep_earlier_model(target: Path) -> None:
    """On rank 0, set aside the model of an earlier training at ``target``, with a warning."""
    if is_rank_zero() and target.exists():
        aside = set_aside(target, "before")
        warn(
            f"{target} contains the model of an earlier training; it is kept as {aside}. Give each training its own"
            " output_dir"
        )
