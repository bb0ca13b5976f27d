# SPDX-License-Identifier: Apache-2.0
"""Run files: the files of a run directory as a reader elsewhere sees them, at a path or in an object store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tadrib.training.config.locations import inside, is_url
from tadrib.training.errors import nearest
from tadrib.training.files.atomic_file import write_atomically
from tadrib.training.files.manifest import MANIFEST, sizes_in
from tadrib.training.files.regular_file import read_own
from tadrib.training.run.checkpoint_folders import committed
from tadrib.training.run.checkpoints import ROOT, stored_steps
from tadrib.training.run.final_weights import damage_of
from tadrib.training.run.holder import Holder
from tadrib.training.run.metrics import parse_rows
from tadrib.training.run.result import Result

if TYPE_CHECKING:
    from tadrib.training.files.store import Store

_SECONDS_OF_PATIENCE = 30.0


class RunFiles:
    """``location`` is a path, a name under ``./runs``, or a URL. Nothing is made; only `ask_to_stop` writes."""

    def __init__(self, location: str) -> None:
        self._store: Store | None = None
        if is_url(location):
            from tadrib.training.files.store import Store

            self.location = location.rstrip("/")
            self._store = Store(self.location, patience=_SECONDS_OF_PATIENCE)
            return
        path = Path(location)
        if not path.exists() and "/" not in location and (Path("runs") / location).is_dir():
            path = Path("runs") / location
        self.location = os.path.abspath(path)

    @property
    def name(self) -> str:
        return self.location.partition("?")[0].rpartition("/")[2]

    def nearest(self) -> str | None:
        """The run of the nearest name, beside this one or under ``./runs``, as a user would type it."""
        if self._store is not None:
            return None
        files = [*Path(self.location).parent.glob("*/spec.yaml"), *Path("runs").glob("*/spec.yaml")]
        runs = {file.parent.name: file.parent for file in reversed(files)}
        close = nearest(self.name, runs)
        return os.path.relpath(runs[close]) if close else None

    def place(self, name: str) -> str:
        """Path or URL of a file, to show."""
        return inside(self.location, name)

    def read(self, name: str, start: int = 0) -> bytes | None:
        """The bytes of a file from ``start`` on; None when there is no such file. Raises ResourceError when what is
        there is no file, or cannot be read."""
        if self._store is not None:
            content = self._store.read(name)
            return None if content is None else content[start:]
        return read_own(Path(self.location) / name, start)

    def names(self, folder: str) -> list[str]:
        """What is directly in a folder."""
        if self._store is not None:
            below = (name.removeprefix(f"{folder}/") for name in self._store.sizes(folder))
            return sorted({name.split("/")[0] for name in below})
        path = Path(self.location) / folder
        return sorted(os.listdir(path)) if path.is_dir() else []

    def text(self, name: str) -> str | None:
        content = self.read(name)
        return None if content is None else content.decode("utf-8", errors="replace")

    def result(self) -> Result | None:
        """The outcome of the last start, when it has one."""
        return Result.parse(self.read("result.json"))

    def final_damage(self) -> str | None:
        """What is wrong with the final weights, by their names and sizes; None when they are whole."""
        here = Path(self.location) / "final"
        sizes = sizes_in(here) if self._store is None else self._store.sizes("final")
        names = {name.removeprefix("final/"): size for name, size in sizes.items()}
        return damage_of(self.read(f"final/{MANIFEST}"), names)

    def metrics(self) -> list[dict[str, Any]]:
        return parse_rows(self.text("metrics.jsonl") or "")

    def holder(self) -> Holder | None:
        """The driver that writes to the run; None when there is none."""
        return Holder.parse(self.read("lock.json"))

    def last_checkpoint(self) -> str | None:
        """Name of the committed checkpoint of the highest step."""
        here = Path(self.location) / ROOT
        steps = committed(here) if self._store is None else stored_steps(self._store)
        return f"checkpoint-{max(steps)}" if steps else None

    def ask_to_stop(self) -> None:
        """Leave the driver word to finish its step, save and end; it looks every second or so."""
        if self._store is not None:
            self._store.write("stop", b"")
        else:
            write_atomically(Path(self.location) / "stop", "")

    def is_asked_to_stop(self) -> bool:
        return self.read("stop") is not None
