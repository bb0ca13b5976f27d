# SPDX-License-Identifier: Apache-2.0
"""RunFiles: read and write the files of a run by name, on a disk or in an object store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tadrib.training.config.locations import inside, is_url
from tadrib.training.files.atomic_file import write_atomically
from tadrib.training.files.manifest import MANIFEST, Manifest, sizes_in
from tadrib.training.files.regular_file import read_own
from tadrib.training.run.checkpoint_folders import committed
from tadrib.training.run.checkpoints import stored_steps
from tadrib.training.run.final_weights import damage_of
from tadrib.training.run.holder import Holder
from tadrib.training.run.metrics import parse_rows
from tadrib.training.run.names import CHECKPOINTS, FINAL, LOCK, METRICS, RESULT, STOP, checkpoint_of
from tadrib.training.run.result import Result

if TYPE_CHECKING:
    from tadrib.training.files.store import Store


class RunFiles:
    """The files at ``location``, a path or object-store URL, by their names relative to it (`training.run.names`).

    The constructor creates nothing. ``retry_seconds`` is passed to the store. Reading raises ResourceError for
    something that is not a readable file, and if a store does not answer.
    """

    def __init__(self, location: str, retry_seconds: float | None = None) -> None:
        self.store: Store | None = None
        if is_url(location):
            from tadrib.training.files.store import (  # pyarrow takes a second that local runs need not wait
                RETRY_SECONDS,
                Store,
            )

            self.location = location.rstrip("/")
            self.store = Store(self.location, RETRY_SECONDS if retry_seconds is None else retry_seconds)
        else:
            self.location = os.path.abspath(location)

    @property
    def name(self) -> str:
        return self.location.partition("?")[0].rpartition("/")[2]

    def place(self, *names: str) -> str:
        """The path or URL of a file, for messages."""
        return inside(self.location, *names)

    # --- files by name: on a disk or in the store

    def read(self, name: str, start: int = 0) -> bytes | None:
        """The bytes of a file from offset ``start``; None if there is no such file."""
        if self.store is None:
            return read_own(Path(self.location) / name, start)
        content = self.store.read(name)
        return None if content is None else content[start:]

    def write(self, name: str, text: str) -> None:
        if self.store is None:
            write_atomically(Path(self.location) / name, text)
        else:
            self.store.write(name, text.encode())

    def remove(self, name: str) -> None:
        """Delete a file. It is no error if there is none."""
        if self.store is None:
            (Path(self.location) / name).unlink(missing_ok=True)
        else:
            self.store.remove(name)

    def sizes(self, folder: str) -> dict[str, int]:
        """Size in bytes of each file under a folder, by relative path."""
        if self.store is None:
            return sizes_in(Path(self.location) / folder)
        return {name.removeprefix(f"{folder}/"): size for name, size in self.store.sizes(folder).items()}

    def names(self, folder: str) -> list[str]:
        """Names of the files and folders directly in a folder."""
        if self.store is not None:
            return sorted({name.partition("/")[0] for name in self.sizes(folder)})
        path = Path(self.location) / folder
        return sorted(os.listdir(path)) if path.is_dir() else []

    def checkpoint_steps(self) -> list[int]:
        """Steps of the committed checkpoints, ascending."""
        if self.store is None:
            return sorted(committed(Path(self.location) / CHECKPOINTS))
        return stored_steps(self.store)

    # --- parsed content

    def text(self, name: str) -> str | None:
        content = self.read(name)
        return None if content is None else content.decode("utf-8", errors="replace")

    def manifest(self, folder: str) -> Manifest | None:
        """The manifest of a folder; None if it is missing or invalid."""
        return Manifest.parse(self.read(f"{folder}/{MANIFEST}") or b"")

    def result(self) -> Result | None:
        """The outcome of the last start; None if it is missing or invalid."""
        return Result.parse(self.read(RESULT))

    def metrics(self) -> list[dict[str, Any]]:
        return parse_rows(self.text(METRICS) or "")

    def holder(self) -> Holder | None:
        """The start that writes to the run, according to its lock; None if there is none."""
        return Holder.parse(self.read(LOCK))

    def last_checkpoint(self) -> str | None:
        """The name of the committed checkpoint with the highest step, not verified."""
        steps = self.checkpoint_steps()
        return checkpoint_of(steps[-1]) if steps else None

    def final_damage(self) -> str | None:
        """What is wrong with the final weights, judging by names and sizes; None if nothing is."""
        return damage_of(self.read(f"{FINAL}/{MANIFEST}"), self.sizes(FINAL))

    def ask_to_stop(self) -> None:
        """Tell the driver to finish its step, save and end; it checks about every second."""
        self.write(STOP, "")

    def is_asked_to_stop(self) -> bool:
        return self.read(STOP) is not None
