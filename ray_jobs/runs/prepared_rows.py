# SPDX-License-Identifier: Apache-2.0
"""Prepared rows: whether a run can continue with the rows that it began with."""

from __future__ import annotations

from tadrib.training.config import JobSpec
from tadrib.training.errors import DataError, Problem
from tadrib.training.notices import warn
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.names import DATA


def are_usable(spec: JobSpec, run: RunDirectory) -> bool:
    """Whether the rows prepared by an earlier launch can be used. Warns if they cannot, or if the dataset has changed.

    Raises DataError if they are corrupt and the dataset has changed: the run would continue with other rows.
    """
    damage = run.data_damage()
    changed = changed_datasets(spec, run)
    if damage is None:
        for problem in changed:
            warn(
                f"{problem.where}: {problem.message} The run continues with the earlier rows; {problem.action}"
            )
        return True
    if changed:
        raise DataError(
            f"the prepared rows of {run} are corrupt ({damage}) and cannot be prepared again", changed
        )
    warn(f"the prepared rows of the run are corrupt ({damage}); they are prepared again from the dataset")
    return False


def changed_datasets(spec: JobSpec, run: RunDirectory) -> list[Problem]:
    """Every dataset whose content has changed since the run's rows were prepared."""
    from tadrib.training.data.fingerprint import fingerprints

    manifest = run.files.manifest(DATA)
    before = manifest.sources if manifest else {}
    now = fingerprints(spec.config) if before else {}
    names = {key: name for key, name, _ in spec.config.paths()}
    return [
        Problem(
            key,
            f"{names[key]} has changed since the run began.",
            "restore the old content, or start over with the new content with --fresh.",
        )
        for key in before.keys() & now.keys()
        if before[key] != now[key]
    ]
