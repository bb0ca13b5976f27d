# SPDX-License-Identifier: Apache-2.0
"""Rows of CSV and TSV files (RFC 4180, with a header line), with typed cells parsed by column."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from typing import Any

from tadrib.training.data.readers.json_rows import decode
from tadrib.training.data.readers.lines import MAX_LINE_BYTES, Line, decode_line, read_lines
from tadrib.training.data.readers.locations import Location
from tadrib.training.data.readers.raw_row import RawRow, bad_row
from tadrib.training.data.rows.row_problem import RowProblem, shown
from tadrib.training.errors import DataError, Problem


def read_csv(location: Location) -> Iterator[RawRow | None]:
    """Rows numbered by the line they start on; an empty cell is a missing value.

    CSV cells have no type: in ``label``, true and false are parsed (in any case), in the length columns numbers, and in
    answer columns JSON arrays. Everything else stays text.

    Raises:
        DataError: an unclosed quote, or a repeated or empty column name: no row after it can be trusted.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    with location.open() as stream:
        lines = _Lines(read_lines(stream))
        reader = csv.reader(lines, delimiter="\t" if location.suffix == ".tsv" else ",", strict=True)
        try:
            header = next(reader, None)
            if header is None:
                return
            _check_header(location.name, header)
            start = reader.line_num + 1
            for cells in reader:
                yield _row(start, header, cells, lines.take_problem())
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


def _check_header(name: str, header: list[str]) -> None:
    for column in header:
        if not column.strip():
            raise DataError(
                name, [Problem(f"{name}:1", "has a column without a name.", "Name or remove it.")]
            )
        if header.count(column) > 1:
            problem = Problem(f"{name}:1", f"has the column {shown(column)} twice.", "Keep one of them.")
            raise DataError(name, [problem])


def _row(number: int, header: list[str], cells: list[str], problem: RowProblem | None) -> RawRow | None:
    if problem is not None:
        return bad_row(number, problem, ",".join(cells))
    if not cells:
        return None
    if len(cells) != len(header):
        message = f"has {len(cells)} cells, but the header has {len(header)} columns."
        action = "Quote cells that hold commas, quotes or line breaks."
        return bad_row(number, RowProblem("wrong_cells", "", message, action), ",".join(cells))
    value = {column: _read_cell(column, cell) for column, cell in zip(header, cells, strict=True)}
    return RawRow(number, value)


def _flag(cell: str) -> Any:
    return {"true": True, "false": False}.get(cell.strip().lower(), cell)


_MAX_DIGITS = 100  # anything longer is not a length, and stays text


def _number(cell: str) -> Any:
    return int(cell) if cell.strip().isdecimal() and len(cell) < _MAX_DIGITS else cell


def _list(cell: str) -> Any:
    if not cell.lstrip().startswith("["):
        return cell
    try:
        return decode(cell)
    except (ValueError, RecursionError):
        return cell


def _conversation(cell: str) -> Any:
    value = _list(cell)
    return value if isinstance(value, list) and value and isinstance(value[0], dict) else cell


_CELLS: dict[str, Callable[[str], Any]] = {
    "label": _flag,
    "chosen_length": _number,
    "rejected_length": _number,
    "messages": _list,
    "rejected": _list,
    "hard_negatives": _list,
    "prompt": _conversation,
    "chosen": _conversation,
    "completion": _conversation,
}


def _read_cell(column: str, cell: str) -> Any:
    if cell == "":
        return None
    return _CELLS.get(column, str)(cell)
