# SPDX-License-Identifier: Apache-2.0
"""Kept rows: those that a run began with, which it goes on with while they are whole."""

from __future__ import annotations

from tadrib.training.config import JobSpec
from tadrib.training.errors import DataError, Problem
from tadrib.training.notices import warn
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.names import DATA


def are_whole(spec: JobSpec, run: RunDirectory) -> bool:
    """Whether the rows prepared by an earlier start can be used; says so when they cannot, or are no longer those of
    the dataset.

    Raises DataError when they are damaged and the dataset has changed: the run would go on with other rows.
    """
    damage = run.data_damage()
    changed = changed_datasets(spec, run)
    if damage is None:
        for problem in changed:
            warn(
                f"{problem.where}: {problem.message} The run goes on with the rows of then; {problem.action}"
            )
        return True
    if changed:
        raise DataError(
            f"the prepared rows of {run} are damaged ({damage}) and cannot be made again", changed
        )
    warn(f"the prepared rows of the run are damaged ({damage}); they are prepared again from the dataset")
    return False


def changed_datasets(spec: JobSpec, run: RunDirectory) -> list[Problem]:
    """Each dataset whose content is no longer that which the run's rows were prepared from."""
    from tadrib.training.data.fingerprint import fingerprints

    manifest = run.files.manifest(DATA)
    before = manifest.sources if manifest else {}
    now = fingerprints(spec.config) if before else {}
    names = {key: name for key, name, _ in spec.config.paths()}
    return [
        Problem(
            key,
            f"{names[key]} has changed since the run began.",
            "put the old content back, or start over on the new with --fresh.",
        )
        for key in before.keys() & now.keys()
        if before[key] != now[key]
    ]
