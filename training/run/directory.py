# SPDX-License-Identifier: Apache-2.0
"""RunDirectory: the folder of one run, which is the truth about it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tadrib.training.config.locations import inside
from tadrib.training.errors import Problem, ResourceError
from tadrib.training.files.aside import set_aside
from tadrib.training.files.atomic_file import write_atomically
from tadrib.training.files.manifest import MANIFEST, Manifest
from tadrib.training.files.regular_file import read_own
from tadrib.training.files.scratch import working_copy
from tadrib.training.run.files import RunFiles
from tadrib.training.run.metrics import MetricsFile
from tadrib.training.run.names import CHECKPOINTS, DATA, FINAL, LOCK, LOGS, METRICS, PREPARED, RESULT, SPEC
from tadrib.training.run.result import Result

if TYPE_CHECKING:
    from tadrib.training.files.store import Store


class RunDirectory:
    """Paths, metrics and result of the run at ``location``, a path or an object-store URL; nothing is made before
    `create`.

    ``files`` are those of the run wherever it keeps them. With a URL, they are in ``store``, and ``path`` is this
    machine's working copy: `pull` downloads the small files, `push` uploads one, and checkpoints and data are
    transferred as whole folders.
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self.files = RunFiles(os.fspath(location))
        self.location, self.store = self.files.location, self.files.store
        self.path = Path(self.location) if self.store is None else working_copy(self.location)
        self.spec_file = self.path / SPEC
        self.metrics = MetricsFile(self.path / METRICS)
        self.result_file = self.path / RESULT
        self.lock_file = self.path / LOCK
        self.checkpoints = self.path / CHECKPOINTS
        self.final = self.path / FINAL
        self.logs = self.path / LOGS
        self.data = self.path / DATA

    def __str__(self) -> str:
        return self.location

    def create(self) -> None:
        """Make the folders that are missing. Raises ResourceError when that is not possible."""
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
        except OSError as error:
            problem = Problem(
                str(self.path), f"cannot be made: {error.strerror}.", "Choose another storage_path."
            )
            raise ResourceError("the run directory cannot be used", [problem]) from error

    def write_spec(self, text: str) -> None:
        write_atomically(self.spec_file, text)

    # --- between the working copy and the store

    def pull(self) -> None:
        """Download spec, metrics and result from the store; delete local copies of what it does not have."""
        if self.store is None:
            return
        for file in (self.spec_file, self.metrics.path, self.result_file):
            content = self.store.read(self._name(file))
            if content is None:
                file.unlink(missing_ok=True)
            else:
                self.path.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)

    def push(self, file: Path) -> None:
        """Take one file to the store; nothing to do without one."""
        if self.store is not None:
            self.store.upload(file, self._name(file))

    def discard(self, folder: Path) -> None:
        """Delete a folder of the run, here and in the store."""
        shutil.rmtree(folder, ignore_errors=True)
        if self.store is not None:
            from tadrib.training.files.store_folders import delete_folder

            delete_folder(self.store, self._name(folder))

    def set_aside(self, folder: Path) -> str:
        """Rename a folder of the run, here and in the store, to a free name beside it; returns where it is now."""
        aside = str(set_aside(folder, "before")) if folder.exists() else ""
        if self.store is None:
            return aside
        number = 1
        while (there := self._part(folder, f".before-{number}")).sizes():
            number += 1
        here = self._part(folder)
        for name in here.sizes():
            here.move(name, there)
        return there.url

    def has_anything(self) -> bool:
        return bool(self.store.sizes()) if self.store is not None else self.path.exists()

    def move_to(self, other: RunDirectory) -> None:
        """Move everything but the lock into the empty run directory ``other`` of the same storage."""
        if self.store is not None and other.store is not None:
            for name in self.store.sizes():
                if name != self.lock_file.name:
                    self.store.move(name, other.store)
        other.path.mkdir(parents=True, exist_ok=True)
        for entry in self.path.iterdir():
            if entry.name != self.lock_file.name:
                entry.rename(other.path / entry.name)
        self.create()

    def _part(self, folder: Path, ending: str = "") -> Store:
        """A folder of the run as a store of its own."""
        from tadrib.training.files.store import Store

        return Store(inside(self.location, self._name(folder) + ending))

    def _name(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix()

    # --- checkpoints and weights

    def latest_checkpoint(self) -> Path | None:
        """The committed checkpoint of the highest step, not verified and, from a store, perhaps not here yet."""
        name = self.files.last_checkpoint()
        return self.checkpoints / name if name else None

    def data_damage(self) -> str | None:
        """What is wrong with the prepared rows, which a store's run fetches for that; None when they are whole."""
        if self.store is not None:
            from tadrib.training.files.store_folders import download_folder, find_missing

            damage = find_missing(self.store, DATA) or download_folder(self.store, DATA, self.data)
        else:
            manifest = Manifest.read(self.data)
            damage = f"{MANIFEST} is missing or invalid" if manifest is None else manifest.damage(self.data)
        if damage is not None:
            return f"{DATA}/{damage}"
        from tadrib.training.data.blocks.stored_blocks import StoredBlocks

        block = StoredBlocks.load(self.data).damage()
        return block and f"{PREPARED}/{block}"

    def download_final(self) -> str | None:
        """Download the final weights of a run in a store. Returns what is wrong with them; None if they are intact."""
        if self.store is None:
            return None
        from tadrib.training.files.store_folders import download_folder

        return download_folder(self.store, FINAL, self.final)

    def has_final(self) -> bool:
        """Whether anything is where the run keeps its final weights."""
        return bool(self.files.sizes(FINAL))

    def final_damage(self) -> str | None:
        """What is wrong with the final weights where the run keeps them: on a disk by every byte, in a store by the
        files' names and sizes; None when they are whole."""
        if damage := self.files.final_damage():
            return damage
        manifest = Manifest.read(self.final) if self.store is None else None
        altered = manifest.damage(self.final) if manifest else None
        return f"{FINAL}/{altered}" if altered else None

    def free_bytes(self) -> int:
        """Bytes free on the file system that holds, or would hold, the directory."""
        place = next(parent for parent in (self.path, *self.path.parents) if parent.exists())
        return shutil.disk_usage(place).free

    # --- result

    def write_result(self, result: Result) -> None:
        write_atomically(self.result_file, result.model_dump_json(indent=2, exclude_none=True) + "\n")

    def read_result(self) -> Result | None:
        """The outcome of the last start; None while the first one runs, after a crash of all of it, or when the file
        is damaged: then the run is not known to have ended."""
        return Result.parse(read_own(self.result_file))
