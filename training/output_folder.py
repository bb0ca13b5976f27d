# SPDX-License-Identifier: Apache-2.0
"""Output folder of a trainer used from Python, which other trainings may have used before it."""

from __future__ import annotations

import os
from pathlib import Path

from tadrib.training.config import CommonConfig
from tadrib.training.errors import Problem, SpecError
from tadrib.training.files.aside import set_aside
from tadrib.training.loop.keeper import is_rank_zero
from tadrib.training.notices import warn


def final_folder(config: CommonConfig) -> Path:
    """Where the trained model goes unless the caller names another folder."""
    return Path(config.output_dir) / "final"


def require_source_kept(config: CommonConfig, target: Path) -> None:
    """Refuse to write a model into the folder that it was made from. Raises SpecError."""
    for key, source, mark in config.paths():
        if mark.holds == "model" and os.path.isdir(source) and Path(source).resolve() == target.resolve():
            message = f"{source} is where the trained model goes ({target}), which would overwrite it."
            action = "Set output_dir to another folder, one for each training."
            raise SpecError(
                "a model is not written over the one it comes from", [Problem(key, message, action)]
            )


def keep_earlier_model(target: Path) -> None:
    """Set aside the model of another training at ``target``, and say so; rank 0 does."""
    if is_rank_zero() and target.exists():
        aside = set_aside(target, "before")
        warn(
            f"{target} holds the model of an earlier training; it is kept as {aside}. Give each training an"
            " output_dir of its own"
        )
