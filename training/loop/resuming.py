# SPDX-License-Identifier: Apache-2.0
"""Resuming from checkpoint files that are pickles, as data alone: no file of a checkpoint can have code run."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_pt_utils import safe_globals as numpy_globals

from tadrib.training.compat import deepspeed
from tadrib.training.errors import Problem, TrainingError

_PICKLES = (".pt", ".pth", ".bin")
_ONLY_WEIGHTS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""torch reads it in `torch.load`, also where the caller asks for a full unpickling, as DeepSpeed 0.19 does."""


@contextlib.contextmanager
def loading_data_alone(checkpoint: Path | None) -> Iterator[None]:
    """While inside, `torch.load` builds tensors, Python's own types and the records of DeepSpeed, and calls nothing
    else; the files of ``checkpoint`` are looked through first.

    Raises TrainingError, with file and what it would have called, for a file that holds more.
    """
    with _set(_ONLY_WEIGHTS, "1"), numpy_globals(), torch.serialization.safe_globals(deepspeed.records()):
        if checkpoint is not None:
            found = [problem for file in _pickles(checkpoint) if (problem := _code_in(file, checkpoint))]
            if found:
                raise _refused(found)
        try:
            yield
        except pickle.UnpicklingError as error:
            reason = next(
                (line for line in str(error).splitlines() if "WeightsUnpickler" in line), str(error)
            )
            raise _refused([_problem(checkpoint or "a checkpoint", reason.strip(), checkpoint)]) from error


def _pickles(checkpoint: Path) -> list[Path]:
    """The files that are read by unpickling; the arguments of a Trainer are not read."""
    files = sorted(path for path in checkpoint.rglob("*") if path.suffix in _PICKLES and path.is_file())
    return [path for path in files if path.name != TRAINING_ARGS_NAME]


def _code_in(file: Path, checkpoint: Path) -> Problem | None:
    """The problem of a file that names other functions or classes than those allowed here; it is not run.

    A file that cannot be looked through this way (torch's format before 1.6) is left to `torch.load`.
    """
    try:
        called = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except pickle.UnpicklingError as error:
        called = [str(error)]
    except (ValueError, RuntimeError):
        return None
    return _problem(file, ", ".join(sorted(called)), checkpoint) if called else None


def _problem(where: Path | str, called: str, checkpoint: Path | None) -> Problem:
    return Problem(
        str(where),
        f"holds more than numbers, and nothing of it was loaded or run: {called}.",
        "No run writes that: find out who can write there. "
        f"Delete {checkpoint or 'that checkpoint'} to continue from the one before it, or start under a new name.",
    )


def _refused(problems: list[Problem]) -> TrainingError:
    return TrainingError("a checkpoint would have had code run", problems)


@contextlib.contextmanager
def _set(variable: str, value: str) -> Iterator[None]:
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
