# SPDX-License-Identifier: Apache-2.0
"""Reference log-probs computed once and kept: a folder of Parquet shards, addressed by content.

A score depends on the reference model and on a group's token ids, nothing else, so that is its address:
``FOLDER/<model fingerprint>/<shard>.parquet`` with columns ``key`` (SHA-256 of the group's tokens and masks) and
``scores`` (float32, one summed log-prob a completion). Tokenizer, template and row are in the token ids. A shard is
named by the SHA-256 of its bytes, so one that was damaged is known by its name, dropped and computed again. Shards
appear by rename, so a killed job leaves whole ones, and the next computes only what is missing. In an object store they
stand under the same names, and each machine keeps a copy of those it has read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tadrib.training.config.locations import inside, is_url
from tadrib.training.data.group import Group
from tadrib.training.files.atomic_file import write_atomically
from tadrib.training.files.scratch import working_copy
from tadrib.training.files.store import Store
from tadrib.training.notices import warn

_SCHEMA = pa.schema([("key", pa.binary(32)), ("scores", pa.list_(pa.float32()))])


def group_key(group: Group) -> bytes:
    """32 bytes that two groups share only with equal prompt, completions and trained masks."""
    digest = hashlib.sha256()
    parts: list[Sequence[int]] = [group.prompt]
    for completion in group.completions:
        parts += [completion.tokens, completion.trained or []]
    for part in parts:
        digest.update(len(part).to_bytes(4, "little"))
        digest.update(np.asarray(part, dtype=np.int32).tobytes())
    return digest.digest()


class ReferenceCache:
    """The scores of one reference model, identified by ``fingerprint``, under ``location``, a path or a URL."""

    def __init__(self, location: str | Path, fingerprint: str) -> None:
        self._store: Store | None = None
        if is_url(str(location)):
            self._store = Store(inside(str(location), fingerprint))
            self.folder = working_copy(str(location)) / fingerprint
        else:
            self.folder = Path(location) / fingerprint

    def read(self) -> dict[bytes, list[float]]:
        """Every score that is there, by group key; those of damaged shards are not, and the shards are removed."""
        names = {path.name for path in self.folder.glob("*.parquet")}
        if self._store is not None:
            names |= {name for name in self._store.sizes() if name.endswith(".parquet")}
        found: dict[bytes, list[float]] = {}
        for name in sorted(names):
            content = self._whole(name)
            if content is not None:
                table = pq.read_table(pa.BufferReader(content))
                found.update(zip(table["key"].to_pylist(), table["scores"].to_pylist(), strict=True))
        return found

    def write(self, keys: Sequence[bytes], scores: Sequence[Sequence[float]]) -> None:
        """Add a shard."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.table({"key": list(keys), "scores": list(scores)}, schema=_SCHEMA), buffer)
        content = buffer.getvalue().to_pybytes()
        shard = self.folder / _name(content)
        write_atomically(shard, content)
        if self._store is not None:
            self._store.upload(shard, shard.name)

    def _whole(self, name: str) -> bytes | None:
        """The bytes of a shard, from here or the store; None, and the shard gone, when they are not those written."""
        path = self.folder / name
        content = path.read_bytes() if path.exists() else None
        if content is not None and _name(content) == name:
            return content
        path.unlink(missing_ok=True)
        content = None if self._store is None else self._store.read(name)
        if content is not None and _name(content) == name:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
            return content
        if self._store is not None:
            self._store.remove(name)
        warn(f"the reference cache was damaged: {path}; its scores are computed again.")
        return None


def _name(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()[:24]}.parquet"
