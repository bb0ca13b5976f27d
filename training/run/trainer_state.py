# SPDX-License-Identifier: Apache-2.0
"""Trainer state: ``trainer_state.json`` of a checkpoint (transformers' TrainerState), with the logged metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tadrib.training.files.regular_file import read_regular
from tadrib.training.run.names import step_of

FILE = "trainer_state.json"


def history(checkpoint: Path) -> tuple[dict[str, Any], ...]:
    """What the trainer logged up to the checkpoint, oldest first; empty if there is no state file.

    Raises ValueError if the state is corrupt.
    """
    try:
        content = read_regular(checkpoint / FILE)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ValueError(f"{FILE}: {error.strerror}") from error
    try:
        state = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{FILE} is not JSON") from error
    return _rows(state, step_of(checkpoint.name))


def damage(checkpoint: Path) -> str | None:
    """What is wrong with the content of the state file, which may still match the manifest; None if nothing is."""
    try:
        history(checkpoint)
    except ValueError as error:
        return str(error)
    return None


def _rows(state: Any, step: int | None) -> tuple[dict[str, Any], ...]:
    if not isinstance(state, dict):
        raise ValueError(f"{FILE} is not a mapping")
    if type(state.get("global_step")) is not int or state["global_step"] != step:
        raise ValueError(f"{FILE} is not from step {step}")
    rows = state.get("log_history", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"log_history in {FILE} is not a list of rows")
    return tuple(rows)
