# SPDX-License-Identifier: Apache-2.0
"""StoreKeeper: commits checkpoints to an object store while training goes on."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch.distributed as dist
from pydantic import TypeAdapter

from tadrib.training.errors import ResourceError
from tadrib.training.files.manifest import MANIFEST, Entry, describe, joined
from tadrib.training.files.store import PATIENCE, Store
from tadrib.training.files.store_folders import bring, forget
from tadrib.training.loop.keeper import Saved, barrier, is_rank_zero, remove
from tadrib.training.run.checkpoint_folders import committed
from tadrib.training.run.checkpoints import stored_steps
from tadrib.training.run.names import CHECKPOINTS, checkpoint_of

logger = logging.getLogger("tadrib")

_ENTRIES = TypeAdapter(dict[str, Entry])
_SECONDS_BETWEEN_LOOKS = 0.5


class StoreKeeper:
    """One worker of each machine uploads what its machine wrote; when all have, rank 0 writes the manifest.

    A checkpoint exists in the store from that moment. One upload is under way at a time: a save that comes earlier
    waits for it, so that a slow store slows training down rather than filling the disk. Constructing it is collective.
    """

    def __init__(self, store: Store, require_ours: Callable[[], None] = lambda: None) -> None:
        self._store, self.require_ours = store, require_ours
        self._token = _from_rank_zero(uuid.uuid4().hex[:8])
        self._machines: list[Any] = []
        self._upload: threading.Thread | None = None
        self._error: BaseException | None = None

    def begin(self, folder: Path, step: int) -> None:
        """Nothing: what the store has decides, and ``folder`` is a copy."""

    def keep(self, saved: Saved) -> None:
        """Hand ``saved`` to the upload in the background."""
        if self._upload is not None and self._upload.is_alive() and is_rank_zero():
            logger.warning("%s is slow: training waits for the checkpoint before", self._store.url)
        self._finish()
        part = self._part(saved.aside.parent.parent)
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

    def bring(self, checkpoint: Path) -> None:
        """From the store; of a run that goes on elsewhere, only the newest checkpoint is there already."""
        self.close()
        name = f"{CHECKPOINTS}/{checkpoint.name}"
        if (damage := bring(self._store, name, checkpoint)) is not None:
            raise ResourceError(f"{self._store.url}/{name} did not arrive here whole: {damage}")

    def _finish(self) -> None:
        if self._upload is not None:
            self._upload.join()
            self._upload = None
        if self._error is not None:
            raise self._error

    def _part(self, folder: Path) -> int | None:
        """This worker's number among those that upload, None when another one of its machine does."""
        if not self._machines:
            info = os.stat(folder)
            machine = (socket.gethostname(), info.st_dev, info.st_ino)
            self._machines = _gathered(machine)
        rank = dist.get_rank() if dist.is_initialized() else 0
        first = self._machines.index(self._machines[rank])
        return (
            sorted({self._machines.index(m) for m in self._machines}).index(first) if first == rank else None
        )

    @property
    def _num_parts(self) -> int:
        return len(set(self._machines))

    # --- in the background

    def _run(self, saved: Saved, part: int) -> None:
        try:
            self._commit(saved, part)
        except BaseException as error:
            self._error = error

    def _commit(self, saved: Saved, part: int) -> None:
        prefix = f"{CHECKPOINTS}/{saved.target.name}"
        entries = describe(saved.target)
        for name in entries:
            self.require_ours()
            self._store.upload(saved.target / name, f"{prefix}/{name}")
        if is_rank_zero():
            parts = [entries, *self._other_parts(prefix)]
            manifest = saved.manifest(joined(parts)).to_json()
            (saved.target / MANIFEST).write_text(manifest, encoding="utf-8")
            self.require_ours()
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
        """What the other machines have uploaded, once all of them have."""
        waiting, parts = set(range(1, self._num_parts)), []
        deadline = time.monotonic() + PATIENCE
        while waiting:
            for part in sorted(waiting):
                name = f"{prefix}/{self._part_name(part)}"
                if (text := self._store.read(name)) is not None:
                    parts.append(_ENTRIES.validate_json(text))
                    self._store.remove(name)
                    waiting.discard(part)
            if time.monotonic() > deadline:
                raise ResourceError(
                    f"{prefix}: {len(waiting)} machines did not upload their part in {PATIENCE:.0f} s"
                )
            if waiting:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        return parts

    def _rotate(self, saved: Saved) -> None:
        for step in saved.surplus(stored_steps(self._store)):
            forget(self._store, f"{CHECKPOINTS}/{checkpoint_of(step)}")


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
