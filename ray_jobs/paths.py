# SPDX-License-Identifier: Apache-2.0
"""Paths: those of a spec that runs on another machine than it was submitted from."""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path

from tadrib.training.config import JobSpec
from tadrib.training.config.locations import is_here, is_url
from tadrib.training.config.types import LocalPath
from tadrib.training.errors import Problem, SpecError

_UPLOADED = "runtime_resources/working_dir_files"  # where Ray unpacks a job's working_dir
_ACTION = "Give the path as the nodes see it, or an object-store URL; code and data are not uploaded."


def relative_keys(spec: JobSpec) -> list[str]:
    """The keys whose value is a path relative to the current directory.

    ``a/b`` may also be a Hub id; it is a path if such a file exists here.
    """
    return [key for key, value, mark in spec.paths() if _is_relative(value, mark)]


def require_directory(directory: Path, spec: JobSpec, keys: Container[str]) -> None:
    """Refuse a spec whose relative paths do not exist under ``directory``, the submitter's current directory.

    Raises SpecError with every key whose path does not exist.
    """
    problems = []
    for key, value, mark in spec.paths():
        if key not in keys:
            continue
        if not directory.is_dir():
            message = (
                f"{value} is relative to {directory}, where it was submitted; the cluster has no such folder."
            )
        elif mark.must_exist and not is_here(str(directory / value)):
            message = f"{value} is {directory / value} where it was submitted; the cluster has no such file."
        else:
            continue
        problems.append(Problem(key, message, _ACTION))
    if problems:
        raise SpecError("the cluster does not have the files of this spec", problems)


def require_persistent_storage(spec: JobSpec) -> None:
    """Refuse to write a run into a job's working_dir, which Ray removes after the job. Raises SpecError."""
    path = os.path.abspath(spec.storage_path)
    if is_url(spec.storage_path) or _UPLOADED not in path:
        return
    message = (
        f"{spec.storage_path} is in the job's working_dir, which Ray removes from the node after the job."
    )
    raise SpecError("the run would be lost", [Problem("storage_path", message, _ACTION)])


def _is_relative(value: str, mark: LocalPath) -> bool:
    if is_url(value) or os.path.isabs(value):
        return False
    return not mark.must_exist or value.startswith(("./", "../")) or is_here(value)
