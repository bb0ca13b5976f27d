# SPDX-License-Identifier: Apache-2.0
"""The location of a dataset: a local path, an fsspec URL or an object store, with suggestions if nothing is there."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import FileSystem

from tadrib.training.config.locations import is_url
from tadrib.training.data.readers.compression import SUFFIXES, unpacked
from tadrib.training.errors import DataError, Problem, nearest

_ARROW_SCHEMES = ("s3", "gs", "gcs")  # read through pyarrow: neither boto nor gcsfs is needed
_SHOWN_NEIGHBOURS = 5
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Location:
    """``name`` is what the user typed, ``path`` the corresponding path in ``filesystem``."""

    name: str
    filesystem: AbstractFileSystem
    path: str

    @property
    def suffix(self) -> str:
        """Lower-case extension of the format: ``.jsonl`` for ``rows.jsonl.gz``."""
        path = PurePosixPath(self.path)
        return (path.with_suffix("") if self.packing else path).suffix.lower()

    @property
    def packing(self) -> str:
        """Lower-case extension of a compressed file, such as ``.gz``; empty for any other."""
        suffix = PurePosixPath(self.path).suffix.lower()
        return suffix if suffix in SUFFIXES else ""

    def kind(self) -> str | None:
        """``"file"``, ``"directory"``, or None if nothing is there. Raises DataError for a store that does not answer,
        and for a pipe or device."""
        try:
            kind = str(self.filesystem.info(self.path)["type"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise unreadable(self.name, error) from error
        if kind not in ("file", "directory"):
            raise unreadable(self.name, OSError("it is a pipe or a device, not a file"))
        return kind

    def size(self) -> int:
        """Size of the stored file in bytes."""
        return int(self.filesystem.info(self.path)["size"])

    def open(self) -> BinaryIO:
        """The file's content, decompressed if its name ends in .gz, .bz2, .xz or .zst."""
        try:
            stream: Any = self.filesystem.open(self.path, "rb")
            return unpacked(stream, self.packing, self.size()) if self.packing else stream
        except (OSError, ValueError, ImportError) as error:
            raise unreadable(self.name, error) from error


def locate(name: str) -> Location:
    """The location for ``name``; nothing is opened yet.

    ``s3://bucket/key?endpoint_override=host:port&scheme=http`` reaches any S3-compatible store: the query is
    that of ``pyarrow.fs.S3FileSystem.from_uri``.

    Raises:
        DataError: unknown protocol, or a protocol whose package is missing.
    """
    try:
        if urlsplit(name).scheme in _ARROW_SCHEMES and is_url(name):
            return _arrow_location(name)
        filesystem, path = fsspec.core.url_to_fs(name)
    except (ImportError, ValueError, OSError) as error:
        raise unreadable(name, error) from error
    return Location(name, filesystem, path)


def _arrow_location(name: str) -> Location:
    arrow, path = FileSystem.from_uri(name)
    return Location(name, ArrowFSWrapper(arrow), path)


def unreadable(name: str, error: Exception) -> DataError:
    """The error for a dataset that exists but cannot be read, with the library's message."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error).strip()
    reason = said.splitlines()[0].rstrip(".")[:_LONGEST_REASON] if said else type(error).__name__
    action = "Check the address, the credentials and the network." if is_url(name) else "Check the file."
    return DataError(name, [Problem(name, f"cannot be read: {reason}.", action)])


def missing(location: Location) -> DataError:
    """The error for a path that does not exist, naming the most similar file or the folder's content."""
    parent, wanted = posixpath.split(location.path.rstrip("/"))
    filesystem = location.filesystem
    if parent and not filesystem.isdir(parent):
        problem = Problem(
            location.name, f"does not exist: there is no folder {parent}.", "Check dataset_path."
        )
        return DataError(location.name, [problem])
    names = sorted(posixpath.basename(str(p).rstrip("/")) for p in filesystem.ls(parent, detail=False))
    close = nearest(wanted, names)
    if close:
        action = f"Did you mean {close}?"
    elif names:
        more = f" and {len(names) - _SHOWN_NEIGHBOURS} more" if len(names) > _SHOWN_NEIGHBOURS else ""
        action = f"The folder contains {', '.join(names[:_SHOWN_NEIGHBOURS])}{more}."
    else:
        action = "The folder is empty."
    return DataError(location.name, [Problem(location.name, "does not exist.", action)])
