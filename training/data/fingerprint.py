# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of datasets, to detect that a dataset has changed since it was prepared."""

from __future__ import annotations

import glob
import hashlib
import os
from pathlib import Path

from tadrib.training.config import CommonConfig
from tadrib.training.config.locations import is_url
from tadrib.training.data.readers.locations import locate
from tadrib.training.errors import DataError
from tadrib.training.files.manifest import sha256


def fingerprints(config: CommonConfig) -> dict[str, str]:
    """The fingerprint of each dataset in ``config`` by its key, if it has one."""
    found = {key: fingerprint(name) for key, name, mark in config.paths() if mark.holds == "rows"}
    return {key: value for key, value in found.items() if value is not None}


def fingerprint(name: str) -> str | None:
    """For local files the SHA-256 of names and contents; for a URL a digest of the sizes and ETags or times it lists.

    None if neither is available: for a Hub dataset, and for one that does not exist.
    """
    try:
        return _of_url(name) if is_url(name) else _of_path(name)
    except (DataError, OSError):
        return None


def _of_path(name: str) -> str | None:
    path = Path(name)
    if not path.exists() and (found := sorted(glob.glob(name))):
        return _of_files(Path(), [Path(each) for each in found if Path(each).is_file()])
    if not path.exists():
        path = Path(name.rpartition(":")[0])  # directory:split, workbook:sheet
        if not path.exists() or path == Path():
            return None
    if path.is_file():
        return f"sha256:{sha256(path)}"
    return _of_files(path, [each for each in path.rglob("*") if each.is_file()])


def _of_files(folder: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{os.path.relpath(file, folder)}\0{sha256(file)}\0".encode())
    return f"sha256:{digest.hexdigest()}"


def _of_url(name: str) -> str | None:
    location, digest = locate(name), hashlib.sha256()
    found = location.filesystem.find(location.path, detail=True)
    for path, info in sorted(found.items()):
        changed = next((info[key] for key in ("ETag", "mtime", "LastModified") if info.get(key)), "")
        digest.update(f"{path}\0{info['size']}\0{changed}\0".encode())
    return f"listing:{digest.hexdigest()}" if found else None
