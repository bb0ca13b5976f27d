# SPDX-License-Identifier: Apache-2.0
"""The rows of a dataset one at a time, each with what training would make of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tadrib.training.data.formats.row_reader import RowReader
from tadrib.training.data.readers.raw_row import RawRow
from tadrib.training.data.readers.sources import Source
from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.rows.row_problem import RowError


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """``index`` counts all rows from 0. A bad row has no ``dialogue``."""

    index: int
    raw: RawRow
    dialogue: Dialogue | None


def checked_rows(source: Source, reader: RowReader) -> Iterator[CheckedRow]:
    """Every row of ``source``, read to its end. Raises DataError if it cannot be read."""
    for index, raw in enumerate(source.rows):
        yield CheckedRow(index, raw, _dialogue(raw, reader))


def _dialogue(raw: RawRow, reader: RowReader) -> Dialogue | None:
    if raw.value is None:
        return None
    try:
        return reader.read(raw.value).row.dialogue
    except RowError:
        return None
