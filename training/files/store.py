# SPDX-License-Identifier: Apache-2.0
"""Store: a folder in an object store (``s3://``, ``gs://``, any fsspec URL), spoken to patiently."""

from __future__ import annotations

import logging
import posixpath
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import fsspec
from pyarrow import NativeFile
from pyarrow.fs import FileSelector, FileSystem, FileType, FSSpecHandler, PyFileSystem

from tadrib.training.config.credentials import find_credentials
from tadrib.training.errors import Problem, ResourceError

logger = logging.getLogger("tadrib")
T = TypeVar("T")

_ARROW_SCHEMES = ("s3", "gs", "gcs", "file")
PATIENCE = 600.0
"""Seconds for which a store that does not answer, or answers with errors, is asked again."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 15.0
_REFUSALS = 3
"""After so many in a row no repetition mends it; the first may come of credentials that are just being renewed."""
# what a refusal says in the words of pyarrow's S3 and GCS clients; of HEAD requests only the status is known
_HOPELESS = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY",
    "INVALID_CLIENT_TOKEN",
    "SIGNATURE_DOES_NOT_MATCH",
    "REQUEST_TIME_TOO_SKEWED",
    "REQUEST_EXPIRED",
    "NO_SUCH_BUCKET",
    "HTTP status 400",
    "HTTP status 401",
    "HTTP status 403",
    "Unauthorized",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
)


class Store:
    """Files under ``url``, by their name relative to it. An upload appears whole or not at all.

    ``s3://bucket/runs?endpoint_override=host:port&scheme=http`` reaches any S3-compatible store: the query is that of
    ``pyarrow.fs.S3FileSystem.from_uri``; credentials come from the environment.

    Making one raises ResourceError for a ``url`` that holds a credential; so does every method when the store refuses,
    or has not answered for ``patience`` seconds.
    """

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        self.url, self._patience = url, patience
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
        """The content of a file; None when there is none."""

        def get() -> bytes:
            with self._files.open_input_stream(self._path(name)) as stream:
                return stream.read()

        return self._patiently("read", name, get)

    def write(self, name: str, content: bytes) -> None:
        def put() -> None:
            with self._writable(name) as stream:
                stream.write(content)

        self._patiently("write", name, put)

    def upload(self, path: Path, name: str) -> None:
        def put() -> None:
            with path.open("rb") as source, self._writable(name) as stream:
                shutil.copyfileobj(source, stream, 8 * 1024**2)

        self._patiently("write", name, put)

    def download(self, name: str, path: Path) -> None:
        """Copy a file to ``path``, which appears whole. Raises FileNotFoundError when the store has none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.part")

        def get() -> bool:
            aside.unlink(missing_ok=True)  # never write through a link
            with self._files.open_input_stream(self._path(name)) as stream, aside.open("xb") as target:
                shutil.copyfileobj(stream, target, 8 * 1024**2)
            return True

        if not self._patiently("read", name, get):
            raise FileNotFoundError(f"{self.url}: {name}")
        aside.replace(path)

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Bytes of every file under ``folder``, by name relative to the store's own url.

        Raises ResourceError also for a name that would lead out of a folder into which it is copied.
        """

        def look() -> dict[str, int]:
            selector = FileSelector(self._path(folder), recursive=True, allow_not_found=True)
            files = [info for info in self._files.get_file_info(selector) if info.type == FileType.File]
            for info in files:
                self._require_inside(info.path)
            return {posixpath.relpath(info.path, self._root): info.size for info in files}

        return self._patiently("list", folder, look) or {}

    def remove(self, name: str) -> None:
        """Delete a file; none there is no error."""
        self._patiently("delete", name, lambda: self._files.delete_file(self._path(name)))

    def move(self, name: str, other: Store) -> None:
        """Move a file to the same name under ``other``, a folder of the same store."""
        path, target = self._path(name), other._path(name)
        self._make_folder_of(target)
        self._patiently("move", name, lambda: self._files.move(path, target))

    def _require_inside(self, path: str) -> None:
        below = path.removeprefix(self._root).lstrip("/")
        if ".." in below.split("/"):
            message = f"holds {below}, whose name leads out of the folder."
            raise ResourceError(
                "the object store holds what no run wrote",
                [Problem(self.url, message, "Delete that object.")],
            )

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name) if name else self._root

    def _writable(self, name: str) -> NativeFile:
        path = self._path(name)
        self._make_folder_of(path)
        return self._files.open_output_stream(path)

    def _make_folder_of(self, path: str) -> None:
        """On a disk; object stores have no folders."""
        if self._files.type_name in ("local", "py::fsspec+file"):
            self._files.create_dir(posixpath.dirname(path))

    def _patiently(self, verb: str, name: str, action: Callable[[], T]) -> T | None:
        """Do ``action`` until it works; None when there is no such file."""
        wait, deadline, warned, refusals = _FIRST_WAIT, time.monotonic() + self._patience, False, 0
        while True:
            try:
                return action()
            except FileNotFoundError:
                return None
            except OSError as error:
                is_refused = isinstance(error, PermissionError) or any(
                    text in str(error) for text in _HOPELESS
                )
                refusals = refusals + 1 if is_refused else 0
                if refusals == _REFUSALS or time.monotonic() + wait > deadline:
                    raise self._refusal(f"{verb} {name}", error) from error
                if not warned:
                    logger.warning("%s does not let us %s %s yet: %s", self.url, verb, name, _line(error))
                    warned = True
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _with_words(self, error: Exception) -> Exception:
        """The answer to a HEAD request has no text; that to a listing says why."""
        if "No response body" in str(error):
            try:
                self._files.get_file_info(FileSelector(self._root, allow_not_found=True))
            except OSError as told:
                return told
        return error

    def _refusal(self, what: str, error: Exception) -> ResourceError:
        action = (
            "Check the address, the credentials in the environment, which may have expired, and the network, then start"
            " the run again."
        )
        problem = Problem(self.url, f"could not {what}: {_line(self._with_words(error))}.", action)
        return ResourceError("the object store does not work", [problem])


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:300] if lines else type(error).__name__
