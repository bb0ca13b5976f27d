# SPDX-License-Identifier: Apache-2.0
"""Rows of CSV and TSV files (RFC 4180, with a header line), with typed cells parsed by column."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tadrib.training.data.readers.cells import cell_reader
from tadrib.training.data.readers.delimiters import MARK, delimiter_of
from tadrib.training.data.readers.encodings import open_text
from tadrib.training.data.readers.lines import MAX_LINE_BYTES, Line, decode_line, read_lines
from tadrib.training.data.readers.locations import Location
from tadrib.training.data.readers.raw_row import RawRow, bad_row
from tadrib.training.data.readers.table_header import check_header, wrong_cells
from tadrib.training.data.rows.row_problem import RowProblem
from tadrib.training.errors import DataError, Problem


def read_csv(location: Location, columns: Mapping[str, str]) -> Iterator[RawRow | None]:
    """Rows numbered by the line they start on; an empty cell is a missing value.

    Encoding and delimiter are told from the beginning of the file. CSV cells have no type: see
    ``training.data.readers.cells``; ``columns`` are the format's names of the file's columns.

    Raises:
        DataError: an unclosed quote, or a repeated or empty column name: no row after it can be trusted; two delimiters
            that would do.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    read = cell_reader(columns)
    stream, sample = open_text(location)
    with stream:
        delimiter = delimiter_of(location.name, location.suffix, sample, columns.values())
        lines = _Lines(read_lines(stream))
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            if sample.lower().startswith(MARK):
                next(reader, None)
            header = next(reader, None)
            if header is None:
                return
            if problem := lines.take_problem():
                where = f"{location.name}:{lines.number}"
                raise DataError(location.name, [Problem(where, problem.message, problem.action)])
            check_header(location.name, header)
            start = reader.line_num + 1
            for cells in reader:
                yield _row(start, header, cells, lines.take_problem(), read)
                start = reader.line_num + 1
        except csv.Error as error:
            where = f"{location.name}:{lines.number}"
            action = 'Quote cells that hold commas, quotes or line breaks, and write a quote in a cell as "".'
            raise DataError(location.name, [Problem(where, f"is not valid CSV: {error}.", action)]) from error


class _Lines:
    """Text lines for ``csv.reader``. A problem with a line is kept for the row it belongs to."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._problem: RowProblem | None = None
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number = line.number
            text = decode_line(line)
            if isinstance(text, RowProblem):
                self._problem = self._problem or text
                too_long = line.size > len(line.data)
                text = "" if too_long else line.data.decode("utf-8", "replace")
            yield text + "\n"

    def take_problem(self) -> RowProblem | None:
        problem, self._problem = self._problem, None
        return problem


def _row(
    number: int,
    header: list[str],
    cells: list[str],
    problem: RowProblem | None,
    read: Callable[[str, str], Any],
) -> RawRow | None:
    if problem is not None:
        return bad_row(number, problem, ",".join(cells))
    if not cells:
        return None
    if wrong := wrong_cells(len(cells), header):
        return bad_row(number, wrong, ",".join(cells))
    value = {column: read(column, cell) for column, cell in zip(header, cells, strict=True)}
    return RawRow(number, value)
