# SPDX-License-Identifier: Apache-2.0
"""A raw block: consecutive rows of a dataset as they were read, to be checked and encoded together."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from tadrib.training.data.readers.raw_row import RawRow
from tadrib.training.data.rows.row_problem import RowProblem

if TYPE_CHECKING:
    from tadrib.training.data.readers.sources import Source

MAX_ROWS = 4096
MAX_BYTES = 16 * 1024 * 1024
"""A block ends with the row that reaches either: memory is bounded for long rows as well."""


@dataclass(frozen=True, slots=True)
class RawBlock:
    """``first`` is the 0-based position of the first row among all rows, ``rows`` are pickled; ``blank_lines`` is the
    number of those after the block before."""

    first: int
    rows: tuple[bytes, ...]
    blank_lines: int

    def __iter__(self) -> Iterator[RawRow]:
        for content in self.rows:
            number, value, problem, text = pickle.loads(content)
            yield RawRow(number, value, problem and RowProblem(*problem), text)

    def digest(self, settings: bytes) -> str:
        """The address of the block encoded with ``settings``: 32 hexadecimal digits."""
        digest = hashlib.sha256(settings)
        for number in (self.first, self.blank_lines):
            digest.update(number.to_bytes(8, "little"))
        for content in self.rows:
            digest.update(len(content).to_bytes(4, "little"))
            digest.update(content)
        return digest.hexdigest()[:32]


def raw_blocks(source: Source) -> Iterator[RawBlock]:
    """The rows of ``source`` in blocks, in their order."""
    first, kept, size, blank = 0, [], 0, 0
    for row in source.rows:
        kept.append(_pickled(row))
        size += len(kept[-1])
        if len(kept) == MAX_ROWS or size >= MAX_BYTES:
            yield RawBlock(first, tuple(kept), source.blank_lines - blank)
            first, kept, size, blank = first + len(kept), [], 0, source.blank_lines
    if kept or source.blank_lines > blank:
        yield RawBlock(first, tuple(kept), source.blank_lines - blank)


def _pickled(row: RawRow) -> bytes:
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=5)
    pickler.fast = True  # equal rows have equal bytes: no reference to an object that happened to be the same
    pickler.dump((row.number, row.value, row.problem and astuple(row.problem), row.text))
    return buffer.getvalue()
