# SPDX-License-Identifier: Apache-2.0
"""Lookup: finds a run by what the user types: a path, a URL, or a name under ``./runs``."""

from __future__ import annotations

import os
from pathlib import Path

from tadrib.training.errors import nearest
from tadrib.training.run.files import RunFiles
from tadrib.training.run.names import SPEC

_HERE = Path("runs")
_RETRY_SECONDS = 30.0


def find(run: str) -> RunFiles:
    """The files of the run that the user means; they may not exist."""
    is_name = "/" not in run and not os.path.exists(run) and (_HERE / run).is_dir()
    return RunFiles(str(_HERE / run) if is_name else run, _RETRY_SECONDS)


def is_here(run: str) -> bool:
    """Whether ``run`` is a path, a URL, or the name of a directory here, rather than a name on a cluster."""
    return "/" in run or os.path.isdir(run) or (_HERE / run).is_dir()


def runs_here() -> list[RunFiles]:
    """The runs under ``./runs``."""
    return [RunFiles(str(file.parent)) for file in sorted(_HERE.glob(f"*/{SPEC}"))]


def nearest_run(run: RunFiles) -> str | None:
    """The run with the most similar name, beside ``run`` or under ``./runs``, as a user would type it."""
    if run.store is not None:
        return None
    files = [*Path(run.location).parent.glob(f"*/{SPEC}"), *_HERE.glob(f"*/{SPEC}")]
    runs = {file.parent.name: file.parent for file in reversed(files)}
    close = nearest(run.name, runs)
    return os.path.relpath(runs[close]) if close else None
