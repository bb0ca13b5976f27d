# SPDX-License-Identifier: Apache-2.0
"""Where a dataset is: a local path, an fsspec URL or an object store, opened for reading or refused with
what is near."""

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

from training.config.locations import is_url
from training.errors import DataError, Problem, nearest

_ARROW_SCHEMES = ("s3", "gs", "gcs")  # read through pyarrow: neither boto nor gcsfs is needed
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_SHOWN_NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class Location:
    """``name`` is what the user typed, ``path`` the same for ``filesystem``."""

    name: str
    filesystem: AbstractFileSystem
    path: str

    @property
    def suffix(self) -> str:
        """Lower-case extension that tells the format: ``.jsonl`` for ``rows.jsonl.gz``."""
        path = PurePosixPath(self.path)
        return (path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path).suffix.lower()

    def kind(self) -> str | None:
        """``"file"``, ``"directory"``, or None when nothing is there. A store that does not answer is a
        DataError."""
        try:
            return str(self.filesystem.info(self.path)["type"])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(self.name, error) from error

    def open(self) -> BinaryIO:
        """The file's bytes, decompressed if its name ends in .gz, .bz2, .xz or .zst."""
        try:
            stream: Any = self.filesystem.open(self.path, "rb", compression="infer")
        except (OSError, ValueError, ImportError) as error:
            raise unreadable(self.name, error) from error
        return stream


def locate(name: str) -> Location:
    """The location called ``name``; nothing is opened yet.

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
    """The refusal for a dataset that is there but cannot be read, in the words of the library that tried."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    action = "Check the address, the credentials and the network." if is_url(name) else "Check the file."
    return DataError(name, [Problem(name, f"cannot be read: {reason}.", action)])


def missing(location: Location) -> DataError:
    """The refusal for a path that does not exist, naming the nearest file or what the folder holds."""
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
        action = f"The folder holds {', '.join(names[:_SHOWN_NEIGHBOURS])}{more}."
    else:
        action = "The folder is empty."
    return DataError(location.name, [Problem(location.name, "does not exist.", action)])
