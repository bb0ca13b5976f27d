# SPDX-License-Identifier: Apache-2.0
"""Trackers of ``report_to``: checked before a run starts, and configured to write into its directory."""

from __future__ import annotations

import importlib.util
import os

from tadrib.training.config import CommonConfig
from tadrib.training.errors import Problem, SpecError
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.names import ID

TENSORBOARD = "tensorboard"
"""The folder of TensorBoard's event files in a run directory."""


def require_trackers(config: CommonConfig) -> None:
    """Raises SpecError with every tracker whose package is not installed."""
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
    """Set where a worker's trackers write; variables that are set already are kept.

    A run that continues from a checkpoint also continues its W&B run.
    """
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(run.path / TENSORBOARD))
    os.environ.setdefault("WANDB_DIR", str(run.path))
    if (identity := run.files.read(ID)) is not None:
        os.environ.setdefault("WANDB_RUN_ID", f"{name}-{identity.decode()}")
        os.environ.setdefault("WANDB_RESUME", "allow")
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", "tadrib")


def tracked_name(name: str) -> str:
    """The name of the run in trackers: that of the environment, else ``name``."""
    return os.environ.get("WANDB_NAME") or os.environ.get("MLFLOW_RUN_NAME") or name
