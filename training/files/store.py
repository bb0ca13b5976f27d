# SPDX-License-Identifier: Apache-2.0
"""A folder in an object store (``s3://``, ``gs://``, any fsspec URL), with retries."""

from __future__ import annotations

import logging
import posixpath
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import fsspec
from pyarrow import NativeFile
from pyarrow.fs import FileSelector, FileSystem, FileType, FSSpecHandler, PyFileSystem

from tadrib.training.config.credentials import find_credentials
from tadrib.training.errors import Problem, ResourceError
from tadrib.training.files.retries import retry

logger = logging.getLogger("tadrib")
T = TypeVar("T")

_ARROW_SCHEMES = ("s3", "gs", "gcs", "file")
RETRY_SECONDS = 600.0
"""How long an operation is retried while the store does not answer or answers with errors."""


class Store:
    """Files under ``url``, by their name relative to it. Uploads are atomic.

    ``s3://bucket/runs?endpoint_override=host:port&scheme=http`` reaches any S3-compatible store: the query is that of
    ``pyarrow.fs.S3FileSystem.from_uri``. Credentials come from the environment.

    The constructor raises ResourceError if ``url`` contains a credential. Every method raises it if the store refuses
    the request, or has failed for ``retry_seconds``.
    """

    def __init__(self, url: str, retry_seconds: float = RETRY_SECONDS) -> None:
        self.url, self._retry_seconds = url, retry_seconds
        if found := list(find_credentials(url, url)):
            raise ResourceError("the address of an object store holds a credential", found)
        try:
            if urlsplit(url).scheme in _ARROW_SCHEMES:
                self._files, self._root = FileSystem.from_uri(url)
            else:
                filesystem, self._root = fsspec.core.url_to_fs(url)
                self._files = PyFileSystem(FSSpecHandler(filesystem))
        except (ImportError, ValueError, OSError) as error:
            raise self._refusal("open", error) from error

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""

        def get() -> bytes:
            with self._files.open_input_stream(self._path(name)) as stream:
                return stream.read()

        return self._retry("read", name, get)

    def write(self, name: str, content: bytes) -> None:
        def put() -> None:
            with self._writable(name) as stream:
                stream.write(content)

        self._retry("write", name, put)

    def upload(self, path: Path, name: str) -> None:
        def put() -> None:
            with path.open("rb") as source, self._writable(name) as stream:
                shutil.copyfileobj(source, stream, 8 * 1024**2)

        self._retry("write", name, put)

    def download(self, name: str, path: Path) -> None:
        """Download a file to ``path``, atomically. Raises FileNotFoundError if the store does not have it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.part")

        def get() -> bool:
            aside.unlink(missing_ok=True)  # never write through a planted link
            with self._files.open_input_stream(self._path(name)) as stream, aside.open("xb") as target:
                shutil.copyfileobj(stream, target, 8 * 1024**2)
            return True

        if not self._retry("read", name, get):
            raise FileNotFoundError(f"{self.url}: {name}")
        aside.replace(path)

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Size in bytes of every file under ``folder``, by name relative to the store's URL.

        Also raises ResourceError for a name that would lead out of the folder it is downloaded to.
        """

        def look() -> dict[str, int]:
            selector = FileSelector(self._path(folder), recursive=True, allow_not_found=True)
            files = [info for info in self._files.get_file_info(selector) if info.type == FileType.File]
            for info in files:
                self._require_inside(info.path)
            return {posixpath.relpath(info.path, self._root): info.size for info in files}

        return self._retry("list", folder, look) or {}

    def remove(self, name: str) -> None:
        """Delete a file. It is no error if there is none."""
        self._retry("delete", name, lambda: self._files.delete_file(self._path(name)))

    def move(self, name: str, other: Store) -> None:
        """Move a file to the same name under ``other``, a folder of the same store."""
        path, target = self._path(name), other._path(name)
        self._make_folder_of(target)
        self._retry("move", name, lambda: self._files.move(path, target))

    def _require_inside(self, path: str) -> None:
        below = path.removeprefix(self._root).lstrip("/")
        if ".." in below.split("/"):
            message = f"contains {below}, whose name leads out of the folder."
            raise ResourceError(
                "the object store contains an object that no run wrote",
                [Problem(self.url, message, "Delete that object.")],
            )

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name) if name else self._root

    def _writable(self, name: str) -> NativeFile:
        path = self._path(name)
        self._make_folder_of(path)
        return self._files.open_output_stream(path)

    def _make_folder_of(self, path: str) -> None:
        """Create the parent folder on a local file system; object stores have no folders."""
        if self._files.type_name in ("local", "py::fsspec+file"):
            self._files.create_dir(posixpath.dirname(path))

    def _retry(self, verb: str, name: str, action: Callable[[], T]) -> T | None:
        """The result of ``action``, retried while the store fails; None if there is no such file."""

        def warn(error: BaseException) -> None:
            logger.warning("%s: could not %s %s, retrying: %s", self.url, verb, name, _line(error))

        try:
            return retry(action, self._retry_seconds, warn)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refusal(f"{verb} {name}", error) from error

    def _with_detail(self, error: Exception) -> Exception:
        """Replace a HEAD request's error, which has no text, with that of a listing, which has."""
        if "No response body" in str(error):
            try:
                self._files.get_file_info(FileSelector(self._root, allow_not_found=True))
            except OSError as detailed:
                return detailed
        return error

    def _refusal(self, what: str, error: Exception) -> ResourceError:
        action = (
            "Check the address, the network, and the credentials in the environment, which may have expired. Then start"
            " the run again."
        )
        problem = Problem(self.url, f"could not {what}: {_line(self._with_detail(error))}.", action)
        return ResourceError("the object store cannot be used", [problem])


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:300] if lines else type(error).__name__
