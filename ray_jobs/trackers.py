# SPDX-License-Identifier: Apache-2.0
"""Trackers of ``report_to``: there before a run starts, and writing into its directory where they write files."""

from __future__ import annotations

import importlib.util
import os

from training.config import CommonConfig
from training.errors import Problem, SpecError
from training.run_directory import RunDirectory

TENSORBOARD = "tensorboard"
"""Folder of TensorBoard's event files in a run directory."""


def require_trackers(config: CommonConfig) -> None:
    """Raises SpecError, naming every tracker whose package is missing."""
    problems = [
        Problem(
            "report_to",
            f"{name} is not installed.",
            f"Install it where the driver and the workers run (pip install {name}), or remove it; metrics.jsonl is "
            "always written.",
        )
        for name in config.report_to
        if importlib.util.find_spec(name) is None
    ]
    if problems:
        raise SpecError("the trackers cannot be used", problems)


def point_trackers_at(run: RunDirectory, name: str) -> None:
    """Where a worker's trackers write and what they call the run; what the environment says already stands."""
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(run.path / TENSORBOARD))
    os.environ.setdefault("WANDB_NAME", name)
    os.environ.setdefault("WANDB_DIR", str(run.path))
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", "tadrib")
    os.environ.setdefault("MLFLOW_RUN_NAME", name)
