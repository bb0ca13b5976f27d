# SPDX-License-Identifier: Apache-2.0
"""Paths of a spec that runs elsewhere than where it was written."""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path

from tadrib.training.config import JobSpec
from tadrib.training.config.locations import is_here, is_url
from tadrib.training.config.types import LocalPath
from tadrib.training.errors import Problem, SpecError

_UPLOADED = "runtime_resources/working_dir_files"  # where Ray unpacks a job's working_dir
_ACTION = "Write the path as the nodes see it, or an object-store URL; code and data are not uploaded."


def relative_keys(spec: JobSpec) -> list[str]:
    """The keys whose value is a path relative to the current directory.

    ``a/b`` may also be a name on a hub; it is a path where there is such a file here.
    """
    return [key for key, value, mark in spec.paths() if _is_relative(value, mark)]


def require_directory(directory: Path, spec: JobSpec, keys: Container[str]) -> None:
    """Refuse a spec whose relative paths cannot be found from ``directory``, which is that of the submitter.

    Raises SpecError with every key that leads nowhere.
    """
    problems = []
    for key, value, mark in spec.paths():
        if key not in keys:
            continue
        if not directory.is_dir():
            message = f"{value} is relative to {directory}, where it was submitted, and the cluster has no such folder."
        elif mark.must_exist and not is_here(str(directory / value)):
            message = (
                f"{value} is {directory / value}, where it was submitted, and the cluster has no such file."
            )
        else:
            continue
        problems.append(Problem(key, message, _ACTION))
    if problems:
        raise SpecError("the cluster does not see the files of this spec", problems)


def require_lasting_storage(spec: JobSpec) -> None:
    """Refuse to keep a run in the folder that Ray unpacked for a job and removes with it. Raises SpecError."""
    path = os.path.abspath(spec.storage_path)
    if is_url(spec.storage_path) or _UPLOADED not in path:
        return
    message = (
        f"{spec.storage_path} lies in the job's working_dir, which Ray removes from the node after the job."
    )
    raise SpecError("the run would be lost", [Problem("storage_path", message, _ACTION)])


def _is_relative(value: str, mark: LocalPath) -> bool:
    if is_url(value) or os.path.isabs(value):
        return False
    return not mark.must_exist or value.startswith(("./", "../")) or is_here(value)
