# SPDX-License-Identifier: Apache-2.0
"""A store of encoded blocks, shared by all runs under one storage path.

``LOCATION/<address>.arrow`` has a block's groups, ``<address>.index.arrow`` its index and, in the schema's metadata,
its facts and the SHA-256 of the groups' file. The address is a digest of the rows and of everything that decides what
becomes of them. The index is written last and both atomically, so several processes and runs may write the same block
at once, and one that is killed leaves whole blocks.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from functools import cached_property
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from tadrib.training.config.locations import is_url
from tadrib.training.data.blocks.block_encoder import EncodedBlock
from tadrib.training.data.blocks.facts import Facts
from tadrib.training.data.blocks.index import SCHEMA as INDEX_SCHEMA
from tadrib.training.errors import Problem, ResourceError
from tadrib.training.files.atomic_file import write_atomically
from tadrib.training.files.machine_lock import machine_lock
from tadrib.training.files.manifest import sha256
from tadrib.training.files.scratch import working_copy
from tadrib.training.files.store import Store


class BlockFile(BaseModel):
    """A block's groups: the address, the number of groups, and the file's size in bytes and SHA-256."""

    model_config = ConfigDict(frozen=True)

    address: str
    groups: int
    bytes: int
    sha256: str


class StoredBlock(BaseModel):
    """What is known of an encoded block without its groups, and their ``file``; None if they are not kept. ``is_new``
    says that it was encoded now."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    file: BlockFile | None
    facts: Facts
    index: pa.Table
    is_new: bool = False


class BlockStore:
    """The blocks at ``location``, a path or URL. None makes a temporary folder, which goes with this object."""

    def __init__(self, location: str | None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="tadrib-") if location is None else None
        self.location = location or self._temporary.name  # type: ignore[union-attr]
        self._store = Store(self.location) if is_url(self.location) else None
        self.folder = working_copy(self.location) if self._store else Path(self.location)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def is_temporary(self) -> bool:
        return self._temporary is not None

    # --- whole blocks

    def write(self, address: str, block: EncodedBlock) -> StoredBlock:
        groups = _to_bytes(block.groups)
        digest = hashlib.sha256(groups).hexdigest()
        file = BlockFile(address=address, groups=len(block.groups), bytes=len(groups), sha256=digest)
        metadata = {"file": file.model_dump_json(), "facts": block.facts.model_dump_json()}
        self._put(_name(address), groups)
        self._put(_index_name(address), _to_bytes(block.index.replace_schema_metadata(metadata)))
        return StoredBlock(file=file, facts=block.facts, index=block.index, is_new=True)

    def read(self, address: str) -> StoredBlock | None:
        """A block, if it is there and undamaged."""
        content = self._get(_index_name(address))
        if content is None:
            return None
        try:
            table = pa.ipc.open_file(content).read_all()
            file = BlockFile.model_validate_json(table.schema.metadata[b"file"])
            facts = Facts.model_validate_json(table.schema.metadata[b"facts"])
            index = table.select(INDEX_SCHEMA.names).replace_schema_metadata()
        except (pa.ArrowException, KeyError, ValueError):
            return None  # a damaged index is as good as none
        return None if self.damage(file) else StoredBlock(file=file, facts=facts, index=index)

    def damage(self, file: BlockFile) -> str | None:
        """What is wrong with a block's groups; None if nothing is. Of an object store, only names and sizes are looked
        at, as they were when first asked for."""
        path = self.path(file)
        if self._store is not None:
            return (
                None if self._sizes.get(path.name) == file.bytes else f"{path.name} is missing or cut short"
            )
        if not path.is_file() or path.is_symlink():
            return f"{path.name} is missing"
        if (size := path.stat().st_size) != file.bytes:
            return f"{path.name} has {size:,} of {file.bytes:,} bytes"
        if sha256(path) != file.sha256:
            return f"{path.name} has been altered: its SHA-256 differs from what was written"
        return None

    @cached_property
    def _sizes(self) -> dict[str, int]:
        assert self._store is not None
        return self._store.sizes()

    # --- groups

    def path(self, file: BlockFile) -> Path:
        """Where a block's groups are on this machine, or will be."""
        return self.folder / _name(file.address)

    def open(self, file: BlockFile) -> pa.RecordBatch:
        """A block's groups, memory-mapped. Raises ResourceError if an object store holds them damaged or not at all."""
        self.bring(file)
        with pa.memory_map(str(self.path(file))) as source:
            return pa.ipc.open_file(source).get_batch(0)

    def bring(self, file: BlockFile) -> None:
        """Have a block's groups on this machine, fetched from an object store by the first process that needs them."""
        name, path = _name(file.address), self.path(file)
        if self._store is None or path.exists():
            return
        lock = self.folder / ".locks" / file.address[:2]
        lock.mkdir(parents=True, exist_ok=True)
        with machine_lock(lock):
            if path.exists():
                return
            content = self._store.read(name)
            if content is not None and hashlib.sha256(content).hexdigest() == file.sha256:
                write_atomically(path, content)
                return
        self._store.remove(_index_name(file.address))  # the next start encodes the block anew
        message = (
            "is missing." if content is None else "is damaged: its SHA-256 differs from what was written."
        )
        problem = Problem(f"{self.location}/{name}", message, "Start the run again.")
        raise ResourceError("prepared rows are missing", [problem])

    # --- datasets

    def write_dataset(self, key: str, addresses: list[str]) -> None:
        """Remember of which blocks a dataset consists."""
        self._put(f"{key}.json", json.dumps(addresses).encode())

    def read_dataset(self, key: str) -> list[str]:
        """The addresses of a dataset's blocks; empty if they are not known."""
        content = self._get(f"{key}.json")
        try:
            return [] if content is None else list(map(str, json.loads(content)))
        except (ValueError, TypeError):
            return []

    def _put(self, name: str, content: bytes) -> None:
        if self._store is not None:
            self._store.write(name, content)
        else:
            write_atomically(self.folder / name, content)

    def _get(self, name: str) -> bytes | None:
        if self._store is not None:
            return self._store.read(name)
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None


def _name(address: str) -> str:
    return f"{address}.arrow"


def _index_name(address: str) -> str:
    return f"{address}.index.arrow"


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_batch(table.combine_chunks().to_batches()[0] if len(table) else _empty(table.schema))
    return sink.getvalue().to_pybytes()


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.record_batch([pa.array([], field.type) for field in schema], schema=schema)
