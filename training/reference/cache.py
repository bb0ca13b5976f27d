# SPDX-License-Identifier: Apache-2.0
"""Cache of reference log-probs: a content-addressed folder of Parquet shards.

A score depends only on the reference model and a group's token ids, which make up its address:
``FOLDER/<model fingerprint>/<shard>.parquet``, with columns ``key`` (SHA-256 of the group's tokens and masks) and
``scores`` (float32, one summed log-prob per completion). Tokenizer, template and row are reflected in the token ids.

A shard's name is the SHA-256 of its bytes, so a corrupt shard is detected, dropped and computed again. Shards are
written atomically: a killed job leaves complete ones, and the next job computes only what is missing. An object store
has the same names, and each machine keeps a copy of the shards it has read.
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
    """32 bytes, equal only for groups with the same prompt, completions and trained masks."""
    digest = hashlib.sha256()
    parts: list[Sequence[int]] = [group.prompt]
    for completion in group.completions:
        parts += [completion.tokens, completion.trained or []]
    for part in parts:
        digest.update(len(part).to_bytes(4, "little"))
        digest.update(np.asarray(part, dtype=np.int32).tobytes())
    return digest.digest()


class ReferenceCache:
    """The scores of the reference model with this ``fingerprint``, under ``location``, a path or URL."""

    def __init__(self, location: str | Path, fingerprint: str) -> None:
        self._store: Store | None = None
        if is_url(str(location)):
            self._store = Store(inside(str(location), fingerprint))
            self.folder = working_copy(str(location)) / fingerprint
        else:
            self.folder = Path(location) / fingerprint

    def read(self) -> dict[bytes, list[float]]:
        """All cached scores by group key. Corrupt shards are removed, with a warning."""
        names = {path.name for path in self.folder.glob("*.parquet")}
        if self._store is not None:
            names |= {name for name in self._store.sizes() if name.endswith(".parquet")}
        found: dict[bytes, list[float]] = {}
        for name in sorted(names):
            content = self._verified(name)
            if content is not None:
                table = pq.read_table(pa.BufferReader(content))
                found.update(zip(table["key"].to_pylist(), table["scores"].to_pylist(), strict=True))
        return found

    def write(self, keys: Sequence[bytes], scores: Sequence[Sequence[float]]) -> None:
        """Write a new shard, with the scores of each group in ``keys``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.table({"key": list(keys), "scores": list(scores)}, schema=_SCHEMA), buffer)
        content = buffer.getvalue().to_pybytes()
        shard = self.folder / _name(content)
        write_atomically(shard, content)
        if self._store is not None:
            self._store.upload(shard, shard.name)

    def _verified(self, name: str) -> bytes | None:
        """The content of a shard, from this machine or the store. A corrupt shard is removed; then None."""
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
        warn(f"the reference cache has a corrupt shard, {path}; its scores are computed again.")
        return None


def _name(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()[:24]}.parquet"
