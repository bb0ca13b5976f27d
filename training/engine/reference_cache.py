# SPDX-License-Identifier: Apache-2.0
"""Reference log-probs computed once and kept: a folder of Parquet shards, addressed by content.

A score depends on the reference model and on a group's token ids, nothing else, so that is its address:
``FOLDER/<model fingerprint>/<shard>.parquet`` with columns ``key`` (SHA-256 of the group's tokens and masks) and
``scores`` (float32, one summed log-prob a completion). Tokenizer, template and row are in the token ids. Shards appear
by rename, so a killed job leaves whole ones, and the next computes only what is missing. In an object store they stand
under the same names, and each machine keeps a copy of those it has read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.config.locations import inside, is_url
from training.data.group import Group
from training.run_directory import working_copy
from training.storage import Store

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
        """Every score that is there, by group key."""
        if self._store is not None:
            for name in self._store.sizes():
                if not (self.folder / name).exists():
                    self._store.download(name, self.folder / name)
        found: dict[bytes, list[float]] = {}
        for shard in sorted(self.folder.glob("*.parquet")):
            table = pq.read_table(shard)
            found.update(zip(table["key"].to_pylist(), table["scores"].to_pylist(), strict=True))
        return found

    def write(self, keys: Sequence[bytes], scores: Sequence[Sequence[float]]) -> None:
        """Add a shard. Its name is the hash of its keys, so two writers of the same rows agree."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:24]
        aside = self.folder / f".{name}.{os.getpid()}.tmp"
        pq.write_table(pa.table({"key": list(keys), "scores": list(scores)}, schema=_SCHEMA), aside)
        aside.replace(self.folder / f"{name}.parquet")
        if self._store is not None:
            self._store.upload(self.folder / f"{name}.parquet", f"{name}.parquet")


def weights_fingerprint(folder: Path) -> str:
    """SHA-256 over the safetensors files of a model folder, their names included."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
