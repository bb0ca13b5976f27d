# SPDX-License-Identifier: Apache-2.0
"""StoreCheckpointManager: commits checkpoints to an object store in the background."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch.distributed as dist
from pydantic import TypeAdapter

from tadrib.training.errors import ResourceError
from tadrib.training.files.manifest import MANIFEST, Entry, describe, merged
from tadrib.training.files.store import RETRY_SECONDS, Store
from tadrib.training.files.store_folders import delete_folder, download_folder
from tadrib.training.loop.checkpoint_manager import SavedCheckpoint, barrier, is_rank_zero, remove
from tadrib.training.run.checkpoint_folders import committed
from tadrib.training.run.checkpoints import stored_steps
from tadrib.training.run.names import CHECKPOINTS, checkpoint_of
from tadrib.training.waiting import wait_until

logger = logging.getLogger("tadrib")

_ENTRIES = TypeAdapter(dict[str, Entry])
_POLL_SECONDS = 0.5


class StoreCheckpointManager:
    """One worker per machine uploads the files that its machine wrote; when all have, rank 0 writes the manifest.

    The protocol between machines, all of it in the store:

    1. The uploader of machine ``n`` uploads its files, then ``.part-<token>-n.json``, which lists them.
    2. Rank 0 uploads its own files, waits for the part files of all other machines, and deletes them.
    3. Rank 0 writes ``manifest.json`` with the files of all machines. From then on the checkpoint exists.

    Only one upload runs at a time. A save that comes too early waits for it: a slow store slows training down rather
    than filling the disk. The constructor is collective.
    """

    def __init__(self, store: Store, require_ownership: Callable[[], None] = lambda: None) -> None:
        self._store, self.require_ownership = store, require_ownership
        # part files that an earlier attempt left behind have another token and are not taken for ours
        self._token = _from_rank_zero(uuid.uuid4().hex[:8])
        self._machines: list[Any] = []
        self._upload: threading.Thread | None = None
        self._error: BaseException | None = None

    def begin(self, folder: Path, step: int) -> None:
        """Nothing to do: the store is authoritative, and ``folder`` only a working copy."""

    def commit(self, saved: SavedCheckpoint) -> None:
        """Start uploading ``saved`` in the background."""
        if self._upload is not None and self._upload.is_alive() and is_rank_zero():
            logger.warning("%s is slow: training waits for the previous checkpoint's upload", self._store.url)
        self._finish()
        part = self._part(saved.aside.parent.parent)
        # local renames first: after the barrier no worker can still be writing to the staging folder
        if part is not None:
            if saved.target.exists():
                remove(saved.target)
            saved.aside.rename(saved.target)
        barrier()
        if part is None:
            return
        self._upload = threading.Thread(target=self._run, args=(saved, part), name="upload", daemon=True)
        self._upload.start()

    def close(self) -> None:
        self._finish()
        barrier()

    def steps(self, folder: Path) -> Collection[int]:
        return stored_steps(self._store)

    def fetch(self, checkpoint: Path) -> None:
        """Download the checkpoint. A run that continues on another machine has only the newest one there."""
        self.close()  # the checkpoint may be the one that is being uploaded
        name = f"{CHECKPOINTS}/{checkpoint.name}"
        if (damage := download_folder(self._store, name, checkpoint)) is not None:
            raise ResourceError(f"{self._store.url}/{name} could not be downloaded intact: {damage}")

    def _finish(self) -> None:
        """Wait for the upload under way, and raise its error in the training thread."""
        if self._upload is not None:
            self._upload.join()
            self._upload = None
        if self._error is not None:
            raise self._error

    def _part(self, folder: Path) -> int | None:
        """This worker's number among the uploaders; None if another worker of its machine uploads."""
        if not self._machines:
            # workers share a machine if they see the same folder: host names repeat, and a mount may be shared
            info = os.stat(folder)
            machine = (socket.gethostname(), info.st_dev, info.st_ino)
            self._machines = _gathered(machine)
        rank = dist.get_rank() if dist.is_initialized() else 0
        # the lowest rank of each machine uploads; machines are numbered in the order of those ranks, so rank 0's is 0
        first = self._machines.index(self._machines[rank])
        return (
            sorted({self._machines.index(m) for m in self._machines}).index(first) if first == rank else None
        )

    @property
    def _num_parts(self) -> int:
        return len(set(self._machines))

    # --- in the background

    def _run(self, saved: SavedCheckpoint, part: int) -> None:
        try:
            self._upload_and_commit(saved, part)
        except BaseException as error:  # raised by the next `_finish`: a thread's own exception would be lost
            self._error = error

    def _upload_and_commit(self, saved: SavedCheckpoint, part: int) -> None:
        prefix = f"{CHECKPOINTS}/{saved.target.name}"
        entries = describe(saved.target)
        for name in entries:
            # before every write: another start may have taken over the run while this one was uploading
            self.require_ownership()
            self._store.upload(saved.target / name, f"{prefix}/{name}")
        if is_rank_zero():
            parts = [entries, *self._other_parts(prefix)]
            manifest = saved.manifest(merged(parts)).to_json()
            (saved.target / MANIFEST).write_text(manifest, encoding="utf-8")
            self.require_ownership()
            self._store.write(f"{prefix}/{MANIFEST}", manifest.encode())
            self._rotate(saved)
        else:
            self._store.write(f"{prefix}/{self._part_name(part)}", _ENTRIES.dump_json(entries))
            (saved.target / MANIFEST).write_text(saved.manifest(entries).to_json(), encoding="utf-8")
        local = committed(saved.target.parent)
        for step in saved.surplus(local):
            remove(local[step])

    def _part_name(self, part: int) -> str:
        return f".part-{self._token}-{part}.json"

    def _other_parts(self, prefix: str) -> list[dict[str, Entry]]:
        """The files of the other machines, once all of them are uploaded."""
        parts: list[dict[str, Entry]] = []
        waiting = set(range(1, self._num_parts))

        def take_parts() -> bool:
            for part in sorted(waiting):
                name = f"{prefix}/{self._part_name(part)}"
                if (text := self._store.read(name)) is not None:
                    parts.append(_ENTRIES.validate_json(text))
                    self._store.remove(name)
                    waiting.discard(part)
            return not waiting

        if not wait_until(take_parts, timeout=RETRY_SECONDS, every=_POLL_SECONDS):
            raise ResourceError(
                f"{prefix}: {len(waiting)} machines did not upload their files within {RETRY_SECONDS:.0f} s"
            )
        return parts

    def _rotate(self, saved: SavedCheckpoint) -> None:
        for step in saved.surplus(stored_steps(self._store)):
            delete_folder(self._store, f"{CHECKPOINTS}/{checkpoint_of(step)}")


def _from_rank_zero(value: str) -> str:
    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def _gathered(value: Any) -> list[Any]:
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
