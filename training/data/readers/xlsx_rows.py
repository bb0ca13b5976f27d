# SPDX-License-Identifier: Apache-2.0
"""Rows of an Excel workbook (ECMA-376): one sheet with a header row, read as a stream."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import ParseError

from tadrib.training.data.readers.cells import cell_reader
from tadrib.training.data.readers.compression import check_size
from tadrib.training.data.readers.locations import Location, unreadable
from tadrib.training.data.readers.raw_row import RawRow, bad_row
from tadrib.training.data.readers.table_header import check_header, wrong_cells
from tadrib.training.data.rows.row_problem import RowProblem, shown
from tadrib.training.errors import DataError, Problem, nearest

MAX_ROWS = 1_048_576
"""Rows that a sheet of Excel has; a file may claim more."""
_DAMAGE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, EOFError),
    *(zipfile.BadZipFile, zlib.error, ParseError),
)


def read_xlsx(
    location: Location, columns: Mapping[str, str], sheet: str | None = None
) -> Iterator[RawRow | None]:
    """Rows by their number in Excel; a row without a value is None. Whole numbers are text, as people write them into
    answers; texts are read as the cells of a CSV file.

    Raises:
        DataError: several sheets have rows and none is named, or the header is wrong.
    """
    try:
        yield from _rows(location, columns, sheet)
    except _DAMAGE as error:
        raise unreadable(location.name, error) from error


def _rows(location: Location, columns: Mapping[str, str], name: str | None) -> Iterator[RawRow | None]:
    from openpyxl import load_workbook

    with location.open() as stream:
        file: Any = stream if stream.seekable() else io.BytesIO(stream.read())
        with zipfile.ZipFile(file) as archive:
            check_size(sum(each.file_size for each in archive.infolist()), location.size())
        book = load_workbook(file, read_only=True, keep_links=False)
        try:
            yield from _table(location.name, _sheet(location.name, book, name), columns)
        finally:
            book.close()


def _sheet(name: str, book: Any, wanted: str | None) -> Any:
    if wanted is None:
        full = [sheet.title for sheet in book.worksheets if _has_rows(sheet)] or book.sheetnames[:1]
        if len(full) == 1:
            return book[full[0]]
        message = f"has {len(full)} sheets with rows: {', '.join(full)}."
        raise DataError(name, [Problem(name, message, f"Name one: {name}:{full[0]}.")])
    if wanted not in book.sheetnames:
        meant = nearest(wanted, book.sheetnames) or book.sheetnames[0]
        message = f"has no sheet {wanted!r}; it has {', '.join(book.sheetnames)}."
        raise DataError(name, [Problem(name, message, f"Write {name.removesuffix(wanted)}{meant}.")])
    return book[wanted]


def _has_rows(sheet: Any) -> bool:
    sheet.reset_dimensions()  # what a file says of its size need not be so
    return any(cell.value is not None for row in _numbered(sheet) for cell in row[1])


def _numbered(sheet: Any) -> Iterator[tuple[int, Sequence[Any]]]:
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        if number > MAX_ROWS:
            raise OSError(f"a sheet has at most {MAX_ROWS:,} rows")
        yield number, cells


def _table(name: str, sheet: Any, columns: Mapping[str, str]) -> Iterator[RawRow | None]:
    sheet.reset_dimensions()
    read = cell_reader(columns)
    header: list[str] = []
    for number, cells in _numbered(sheet):
        values = _without_end([cell.value for cell in cells])
        if not header:
            header = ["" if value is None else str(value) for value in values]
            check_header(name, header)
        elif not values:
            yield None
        elif problem := _formula(header, cells) or wrong_cells(len(values), header, at_most=True):
            yield bad_row(number, problem, ",".join(map(str, values)))
        else:
            values += [None] * (len(header) - len(values))
            row = {column: _value(read, column, value) for column, value in zip(header, values, strict=True)}
            yield RawRow(number, row)


def _without_end(values: list[Any]) -> list[Any]:
    """``values`` without the empty ones at the end, which a sheet has where cells are formatted."""
    while values and values[-1] in (None, ""):
        values.pop()
    return values


def _formula(header: Sequence[str], cells: Sequence[Any]) -> RowProblem | None:
    for column, cell in zip(header, cells, strict=False):
        if cell.data_type in ("f", "e"):
            what = "a formula" if cell.data_type == "f" else "an error"
            message = f"the cell holds {what}, not a value; found {shown(str(cell.value))}."
            return RowProblem("formula", column, message, "Copy the column and paste its values.")
    return None


def _value(read: Any, column: str, value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return read(column, value) if isinstance(value, str) else value
