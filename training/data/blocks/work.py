# SPDX-License-Identifier: Apache-2.0
"""The blocks of a dataset, as what is left to do and what was done before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tadrib.training.data.blocks.block_encoder import BlockEncoder
from tadrib.training.data.blocks.block_store import BlockStore, StoredBlock
from tadrib.training.data.blocks.encoding_job import EncodingJob
from tadrib.training.data.blocks.raw_block import RawBlock, raw_blocks
from tadrib.training.data.readers.sources import open_source

Engine = Callable[[str, EncodingJob, BlockStore | None], Iterator[StoredBlock]]
"""What encodes the blocks of a dataset that a store lacks, and returns all in the dataset's order."""


@dataclass(frozen=True, slots=True)
class Work:
    """A block to encode, and the address for it."""

    address: str
    block: RawBlock


def work_on(name: str, job: EncodingJob, store: BlockStore | None) -> Iterator[Work | StoredBlock]:
    """The blocks of the dataset ``name`` in its order; those that ``store`` has are done.

    Raises:
        DataError: the dataset cannot be read at all.
    """
    settings = b"" if store is None else job.digest()
    for block in raw_blocks(open_source(name, job.config.columns)):
        address = "" if store is None else block.digest(settings)
        done = None if store is None else store.read(address)
        yield done or Work(address, block)


class BlockWorker:
    """Does the work of one job, in whatever process. Raises what `BlockEncoder` does."""

    def __init__(self, job: EncodingJob, store: BlockStore | None) -> None:
        self._encoder, self._store = BlockEncoder(job), store

    def do(self, work: Work) -> StoredBlock:
        encoded = self._encoder.encode(work.block)
        if self._store is None:
            return StoredBlock(file=None, facts=encoded.facts, index=encoded.index, is_new=True)
        return self._store.write(work.address, encoded)
