# SPDX-License-Identifier: Apache-2.0
"""Encoded rows: a dataset that was read to its end, checked, and encoded into blocks of a store."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from tadrib.training.data.blocks.block_store import BlockFile, BlockStore, StoredBlock
from tadrib.training.data.blocks.encoding_job import EncodingJob
from tadrib.training.data.blocks.facts import Facts
from tadrib.training.data.blocks.index import SCHEMA
from tadrib.training.data.blocks.processes import encode_here
from tadrib.training.data.blocks.work import Engine
from tadrib.training.data.fingerprint import fingerprint
from tadrib.training.data.readers.counting import count_rows
from tadrib.training.data.readers.sources import Source, open_source
from tadrib.training.phases import Phase, enter

_SECONDS_UNTOLD = 1.0
"""What is done sooner needs no progress."""


@dataclass(slots=True)
class EncodedRows:
    """A dataset in blocks: the ``facts`` of all its rows, the ``index`` of the usable ones, and the ``files`` of the
    groups; none of them is truncated under ``truncation: error``. ``encoded`` counts the rows that were not prepared
    before."""

    source: Source
    facts: Facts = field(default_factory=Facts)
    index: pa.Table = field(default_factory=SCHEMA.empty_table)
    files: list[BlockFile] = field(default_factory=list)
    encoded: int = 0

    @property
    def num_groups(self) -> int:
        return sum(file.groups for file in self.files)

    def keys(self, column: str) -> np.ndarray:
        """A column of the index with one key for each usable row."""
        return self.index[column].to_numpy()[self.index["is_row"].to_numpy()]


def encode_rows(
    name: str, job: EncodingJob, store: BlockStore | None = None, engine: Engine = encode_here
) -> EncodedRows:
    """Read, check and encode the dataset ``name``; bad rows are counted, not raised. Without a ``store``, groups are
    not kept.

    Raises:
        DataError: the dataset cannot be read at all.
        SpecError: the template or a normalization step does not exist, or does not fit the tokenizer.
    """
    rows = EncodedRows(open_source(name))
    key = None if store is None else _dataset_key(rows.source, job)
    if store is None or key is None:
        return _gather(rows, _watched(engine(name, job, store), name, rows), job)
    known = [store.read(address) for address in store.read_dataset(key)]
    blocks = [block for block in known if block is not None]
    if known and len(blocks) == len(known):
        return _gather(rows, blocks, job)
    _gather(rows, _watched(engine(name, job, store), name, rows), job)
    store.write_dataset(key, [file.address for file in rows.files])
    return rows


def _dataset_key(source: Source, job: EncodingJob) -> str | None:
    """The address of a dataset's list of blocks; None where its content has no fingerprint, so that it has to be
    read to know them."""
    content = fingerprint(source.name)
    if content is None:
        return None
    name = PurePosixPath(source.name).name  # it tells the format and the split
    return hashlib.sha256(job.digest() + f"{content} {name}".encode()).hexdigest()[:32]


def _gather(rows: EncodedRows, blocks: Iterable[StoredBlock], job: EncodingJob) -> EncodedRows:
    indices = []
    for block in blocks:
        rows.facts.merge(block.facts, job.config.max_bad_rows)
        indices.append(block.index)
        if block.file is not None:
            rows.files.append(block.file)
    rows.index = pa.concat_tables([SCHEMA.empty_table(), *indices])
    return rows


def _watched(blocks: Iterable[StoredBlock], name: str, rows: EncodedRows) -> Iterator[StoredBlock]:
    """``blocks``, with progress reported, and those counted that were encoded now."""
    began, planned, done = time.monotonic(), count_rows(name), 0
    for block in blocks:
        done += block.facts.rows
        rows.encoded += block.facts.rows if block.is_new else 0
        seconds = time.monotonic() - began
        if seconds >= _SECONDS_UNTOLD and done < (planned or math.inf):
            enter(Phase("preparing the data", done, planned, "rows", seconds))
        yield block
