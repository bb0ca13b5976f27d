# SPDX-License-Identifier: Apache-2.0
"""Joining: launches a run from inside the Ray cluster that it trains on."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tadrib.ray_jobs.paths import require_directory, require_persistent_storage
from tadrib.training.config import load_spec
from tadrib.training.run.result import Result

_TIMEOUT = 120.0
"""Seconds: the nodes of a new cluster join one by one, and the previous job of the run may still be saving."""


def launch_on_cluster(
    path: Path,
    overrides: Sequence[str],
    *,
    command: str,
    fresh: bool = False,
    directory: Path | None = None,
    relative: Sequence[str] = (),
) -> Result:
    """Launch the spec in ``path`` ("-": standard input) on the cluster that this machine is part of; starts none.

    The values of the keys ``relative`` are paths relative to ``directory``, which becomes the current directory.
    Raises SpecError, and what `ray_jobs.driver.launch.launch` raises.
    """
    spec = load_spec("/dev/stdin" if str(path) == "-" else path, overrides)
    if directory is not None:
        require_directory(directory, spec, relative)
        os.chdir(directory)
    require_persistent_storage(spec)
    if os.environ.get("RAY_ADDRESS", "local") == "local":
        os.environ["RAY_ADDRESS"] = "auto"  # join the Ray of this machine, or fail
    if submission_id := _submission_id():
        os.environ.setdefault("TADRIB_SUBMISSION_ID", submission_id)
    from tadrib.ray_jobs.driver.launch import launch

    return launch(spec, command=command, fresh=fresh, timeout=_TIMEOUT)


def _submission_id() -> str | None:
    """The id of the Ray job whose entrypoint this process is; None outside of a job."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    return job.get("metadata", {}).get("job_submission_id")
