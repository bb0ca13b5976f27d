# SPDX-License-Identifier: Apache-2.0
"""Sets of files read as one dataset: those that a glob matches, or the data files of a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from tadrib.training.data.readers.locations import Location, unreadable
from tadrib.training.errors import DataError, Problem

MAX_FILES = 100_000
_SPLIT = re.compile(r"(^|[^a-z])(train|training|test|testing|valid|validation|val|eval|dev)([^a-z]|$)", re.I)
_BESIDE_DATA = re.compile(r"(^[._])|(^(readme|license|licence|dataset_infos?|state)\b)|\.md$", re.I)


def is_glob(name: str) -> bool:
    return "*" in name or ("?" in name and "://" not in name)


def matches(location: Location) -> list[Location]:
    """The files that a glob matches, in the order of their names. Raises DataError if there are none."""
    try:
        found: list[Any] = sorted(map(str, location.filesystem.glob(location.path)))
    except (OSError, ValueError) as error:
        raise unreadable(location.name, error) from error
    files = [each for each in (_beside(location, path) for path in found) if each.kind() == "file"]
    if not files:
        action = "Check the folder and the extension."
        raise DataError(location.name, [Problem(location.name, "matches no file.", action)])
    return files


def data_files(folder: Location, suffixes: Collection[str]) -> list[Location] | None:
    """The files of a folder of plain data files, in the order of their names. None if it has a structure of its own,
    which `datasets` knows: splits in its names, or a description.

    Raises:
        DataError: a file is of no known format, beside others that are.
    """
    files = [_beside(folder, path) for path in _walk(folder)]
    wanted = [file for file in files if not _BESIDE_DATA.search(PurePosixPath(file.path).name)]
    known = [file for file in wanted if file.suffix in suffixes]
    has_splits = any(_SPLIT.search(os.path.relpath(file.path, folder.path)) for file in wanted)
    if has_splits or len(wanted) < len(files) or not known:
        return None
    for file in wanted:
        if file not in known:
            message = f"is of no format that is read: one of {', '.join(suffixes)}."
            action = (
                f"Remove it, or name the files that are meant: {folder.name.rstrip('/')}/*{known[0].suffix}."
            )
            raise DataError(folder.name, [Problem(file.name, message, action)])
        file.kind()  # a pipe or a device is refused before any row is read
    return known


def _walk(folder: Location) -> list[str]:
    """The paths of all files below ``folder``. Links to folders are not followed, as they may lead in a circle."""
    found: list[str] = []
    if isinstance(folder.filesystem, LocalFileSystem):
        for parent, _, names in os.walk(folder.path):
            found += [os.path.join(parent, name) for name in names]
            if len(found) > MAX_FILES:
                raise unreadable(folder.name, OSError(f"it has more than {MAX_FILES:,} files"))
    else:
        found = list(map(str, folder.filesystem.find(folder.path)))
    return sorted(found)


def _beside(location: Location, path: str) -> Location:
    """``path`` in the file system of ``location``, under a name that the user knows."""
    if isinstance(location.filesystem, LocalFileSystem):
        is_relative = not os.path.isabs(location.name)
        return replace(location, name=os.path.relpath(path) if is_relative else path, path=path)
    scheme = location.name.partition("://")[0]
    return replace(location, name=f"{scheme}://{path.lstrip('/')}", path=path)
