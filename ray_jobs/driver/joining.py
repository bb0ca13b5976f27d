# SPDX-License-Identifier: Apache-2.0
"""Joining: a run started inside the Ray cluster that it is to train on."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tadrib.ray_jobs.paths import require_directory, require_lasting_storage
from tadrib.training.config import load_spec
from tadrib.training.run.result import Result

_PATIENCE = 120.0
"""Seconds: the nodes of a cluster that was just made join one by one, and the job before may still be saving."""


def launch_here(
    path: Path,
    overrides: Sequence[str],
    *,
    command: str,
    fresh: bool = False,
    directory: Path | None = None,
    relative: Sequence[str] = (),
) -> Result:
    """Launch the spec in ``path`` ("-": standard input) on the cluster that stands here; none is started.

    The values of the keys ``relative`` are paths from ``directory``, which then becomes the current one.
    Raises SpecError, and whatever `ray_jobs.driver.launch.launch` raises.
    """
    spec = load_spec("/dev/stdin" if str(path) == "-" else path, overrides)
    if directory is not None:
        require_directory(directory, spec, relative)
        os.chdir(directory)
    require_lasting_storage(spec)
    if os.environ.get("RAY_ADDRESS", "local") == "local":
        os.environ["RAY_ADDRESS"] = "auto"  # join what runs here, or fail
    if submission_id := _submission_id():
        os.environ.setdefault("TADRIB_SUBMISSION_ID", submission_id)
    from tadrib.ray_jobs.driver.launch import launch

    return launch(spec, command=command, fresh=fresh, patience=_PATIENCE)


def _submission_id() -> str | None:
    """Id of the Ray job that this process is the command of."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    return job.get("metadata", {}).get("job_submission_id")
