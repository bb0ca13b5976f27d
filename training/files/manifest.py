# SPDX-License-Identifier: Apache-2.0
"""Manifest: the files of a folder with their sizes and hashes, to detect incomplete or altered ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tadrib.training.files.atomic_file import flush
from tadrib.training.files.containment import escapes_folder, find_symlink, require_contained
from tadrib.training.files.regular_file import read_regular

MANIFEST = "manifest.json"


class Entry(BaseModel):
    """One file: its size in bytes and the SHA-256 of its content in hexadecimal."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """The content of ``manifest.json``. It is written last, so a folder without one is incomplete.

    - ``files``: entries by path relative to the folder.
    - Of a checkpoint: ``step``, the number of optimizer steps taken; ``num_workers``, the processes that saved it;
      ``rows_per_step``, the global batch size (None if the trainer does not state it); ``versions`` of the packages.
    - Of prepared rows: ``sources``, the fingerprints of the datasets by config key.
    """

    format: int = 1
    step: int = Field(default=0, ge=0, lt=10**15)
    num_workers: int = Field(default=1, ge=1)
    rows_per_step: int | None = Field(default=None, ge=1)
    versions: dict[str, str] = {}
    sources: dict[str, str] = {}
    files: dict[str, Entry]

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of ``folder``; None if it is missing or invalid."""
        try:
            return cls.parse(read_regular(folder / MANIFEST))
        except OSError:
            return None

    @classmethod
    def parse(cls, text: bytes) -> Manifest | None:
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None

    def to_json(self) -> str:
        return self.model_dump_json(indent=1) + "\n"

    def lacking(self, sizes: Mapping[str, int]) -> str | None:
        """Like `damage`, but compares only names and ``sizes`` (bytes), without reading any content."""
        for name, entry in self.files.items():
            if name not in sizes:
                return f"{name} is missing"
            if sizes[name] != entry.bytes:
                return f"{name} has {sizes[name]:,} of {entry.bytes:,} bytes"
        return None

    def stray(self) -> str | None:
        """What is wrong with the first name that leads out of the folder; None if none does."""
        return next((f"{name} leads out of the folder" for name in self.files if escapes_folder(name)), None)

    def damage(self, folder: Path, only: str | None = None) -> str | None:
        """What is wrong with the first file of ``folder`` that differs from what was written; None if nothing is.

        With ``only``, just that file is checked. Nothing is read outside the folder or through a symbolic link.
        """
        if stray := self.stray():
            return stray
        if (link := find_symlink(folder, MANIFEST)) is not None:
            return f"{link.relative_to(folder.parent)} is a symbolic link"
        for name, entry in self.files.items() if only is None else [(only, self.files[only])]:
            path = folder / name
            if (link := find_symlink(folder, name)) is not None:
                return f"{link.relative_to(folder.parent)} is a symbolic link"
            if not path.is_file():
                return f"{name} is missing"
            size = path.stat().st_size
            if size != entry.bytes:
                return f"{name} has {size:,} of {entry.bytes:,} bytes"
            if sha256(path) != entry.sha256:
                return f"{name} has been altered: its SHA-256 differs from the manifest"
        return None


def seal(folder: Path, manifest: Manifest | None = None) -> None:
    """Flush the files of ``folder`` to disk, then write its manifest, by default with nothing but their entries."""
    # in this order, so that a manifest never outlives the content it vouches for
    sealed = manifest or Manifest(files=describe(folder))
    for path in folder.rglob("*"):
        flush(path)
    (folder / MANIFEST).write_text(sealed.to_json(), encoding="utf-8")
    flush(folder / MANIFEST)
    flush(folder)


def sizes_in(folder: Path) -> dict[str, int]:
    """Size in bytes of each file under ``folder``, by relative path; empty if there is no such folder."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def describe(folder: Path) -> dict[str, Entry]:
    """An entry for each file under ``folder``. Raises ResourceError if one is a symbolic link."""
    found = sorted(folder.rglob("*"))
    require_contained(folder, (path.relative_to(folder).as_posix() for path in found))
    files = [path for path in found if path.is_file() and path.name != MANIFEST]
    return {
        path.relative_to(folder).as_posix(): Entry(bytes=path.stat().st_size, sha256=sha256(path))
        for path in files
    }


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def merged(parts: Iterable[Mapping[str, Entry]]) -> dict[str, Entry]:
    """The entries of several machines that each wrote a part of one checkpoint."""
    return {name: entry for part in parts for name, entry in part.items()}
