# SPDX-License-Identifier: Apache-2.0
"""Disk: the least space a run needs, and the errors of a full disk."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

from tadrib.training.config import CommonConfig
from tadrib.training.errors import Problem, ResourceError

if TYPE_CHECKING:
    from tadrib.training.run.directory import RunDirectory

_FLOOR = 32 * 1024**2  # bytes: logs, metrics, tokenizer, adapters
_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
# safetensors and torch report the operating system's error as text
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded")


def check_space(run: RunDirectory, config: CommonConfig) -> None:
    """Refuse a run that cannot fit on the disk. Raises ResourceError with the bytes needed and free."""
    needed, free = least_bytes(config), run.free_bytes()
    if needed > free:
        message = (
            f"the run writes at least {human(needed)}, but only {human(free)} ({free} bytes) are free there."
        )
        problem = Problem(str(run), message, "Free some space, or choose another storage_path.")
        raise ResourceError("not enough disk space", [problem])


def least_bytes(config: CommonConfig) -> int:
    """A lower bound in bytes: the tokens of a local dataset and, if all weights are trained, the final weights and one
    checkpoint with two optimizer moments. A model that is not downloaded yet counts as 0."""
    from tadrib.training.model.adapter_folder import base_of  # heavy, and not needed to report errors
    from tadrib.training.model.source import ModelSource

    files = [Path(source.path) for source in config.sources]
    needed = _FLOOR + sum(file.stat().st_size for file in files if file.is_file())
    if not config.use_lora:
        folder = ModelSource.start(config).folder
        whole = None if folder is None else base_of(ModelSource.start(config)).folder
        weights = sum(file.stat().st_size for file in whole.glob("*.safetensors")) if whole else 0
        needed += weights if config.save_strategy == "no" else 4 * weights
    return needed


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk or quota caused ``error``, directly or along its chain of causes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL_ERRNOS:
            return True
        if any(text in str(error) for text in _FULL_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False


def full(run: RunDirectory) -> ResourceError:
    """The error for a disk that filled up during a run."""
    free = run.free_bytes()
    action = "Free some space or choose another storage_path; the same command then continues the run."
    problem = Problem(str(run), f"{human(free)} ({free} bytes) are free there.", action)
    return ResourceError("no space left in the run directory", [problem])


def full_at(path: str | None) -> ResourceError:
    """The error for a full disk on which ``path``, if known, could not be written."""
    problem = Problem(
        path or "a disk", "could not be written: it is full.", "Free some space and start again."
    )
    return ResourceError("no space left", [problem])


def human(size: int) -> str:
    """Bytes in the largest unit in which they are at least one: ``1.5 GiB``."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        del units[0]
    return f"{value:.0f} {units[0]}" if value >= 10 or units[0] == "B" else f"{value:.1f} {units[0]}"
