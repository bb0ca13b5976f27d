# SPDX-License-Identifier: Apache-2.0
"""Load pickled checkpoint files as data only: no file of a checkpoint can execute code."""

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
"""`torch.load` honours this variable even if the caller asks for full unpickling, as DeepSpeed 0.19 does."""


@contextlib.contextmanager
def loading_data_alone(checkpoint: Path | None) -> Iterator[None]:
    """Inside this context, `torch.load` builds tensors, builtin types and DeepSpeed's records, and calls nothing else.
    The files of ``checkpoint`` are scanned first.

    Raises TrainingError for a file that holds anything else, naming the file and what it would have called.
    """
    with _set(_ONLY_WEIGHTS, "1"), numpy_globals(), torch.serialization.safe_globals(deepspeed.records()):
        # scanned up front so that all such files are reported at once; `torch.load` would stop at the first
        if checkpoint is not None:
            found = [problem for file in _pickles(checkpoint) if (problem := _code_in(file, checkpoint))]
            if found:
                raise _refused(found)
        try:
            yield
        except pickle.UnpicklingError as error:
            # torch's message is a page of advice; this line says which global was refused
            reason = next(
                (line for line in str(error).splitlines() if "WeightsUnpickler" in line), str(error)
            )
            raise _refused([_problem(checkpoint or "a checkpoint", reason.strip(), checkpoint)]) from error


def _pickles(checkpoint: Path) -> list[Path]:
    """The files that are unpickled on resume. A Trainer's saved arguments are pickled too, but never read."""
    files = sorted(path for path in checkpoint.rglob("*") if path.suffix in _PICKLES and path.is_file())
    return [path for path in files if path.name != TRAINING_ARGS_NAME]


def _code_in(file: Path, checkpoint: Path) -> Problem | None:
    """The problem with a file that references functions or classes not allowed here; None if there is none. The file
    is not executed.

    A file that cannot be scanned (torch's format before 1.6) is left to `torch.load`, which is restricted as well.
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
        f"contains more than data, and nothing of it was loaded or executed: {called}.",
        "No run writes such a file: find out who has write access there. "
        f"Delete {checkpoint or 'that checkpoint'} to resume from the previous one, or start under a new name.",
    )


def _refused(problems: list[Problem]) -> TrainingError:
    return TrainingError("a checkpoint would have executed code", problems)


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
