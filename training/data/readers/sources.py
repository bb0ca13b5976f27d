# SPDX-License-Identifier: Apache-2.0
"""Raw rows of a dataset from any source: a file, several, a `datasets` directory, a Hub id or an object store."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tadrib.training.config.locations import is_url
from tadrib.training.data.readers import csv_rows, json_rows, table_rows, xlsx_rows
from tadrib.training.data.readers.file_sets import data_files, is_glob, matches
from tadrib.training.data.readers.locations import Location, locate, missing, unreadable
from tadrib.training.data.readers.raw_row import RawRow
from tadrib.training.errors import DataError, Problem

_Rows = Iterator[RawRow | None]
_Columns = Mapping[str, str]
_HUB_ID = re.compile(r"(?P<id>[\w][\w.-]*/[\w][\w.-]*)(?::(?P<split>[\w.\-\[\]%:]+))?")


def _typed(read: Callable[[Location], _Rows]) -> Callable[[Location, _Columns], _Rows]:
    """``read``, of a format whose values have types whatever their columns are called."""
    return lambda location, columns: read(location)


_READERS: dict[str, Callable[[Location, _Columns], _Rows]] = {
    ".jsonl": _typed(json_rows.read_json_lines),
    ".ndjson": _typed(json_rows.read_json_lines),
    ".json": _typed(json_rows.read_json),
    ".csv": csv_rows.read_csv,
    ".tsv": csv_rows.read_csv,
    ".parquet": _typed(table_rows.read_parquet),
    ".xlsx": xlsx_rows.read_xlsx,
}
_LINE_FORMATS = ("jsonl", "ndjson", "csv", "tsv")
_FILE_ROWS = 1_000_000_000_000
"""Of a set of files, row n of file f has the number f * this + n."""


@dataclass(slots=True)
class Source:
    """A dataset being read. ``blank_lines`` is final once ``rows`` is exhausted.

    ``unit`` says what ``RawRow.number`` counts: "line" in a text file, or "row" in a table. ``files`` are those of a
    set.
    """

    name: str
    kind: str
    unit: str
    rows: Iterator[RawRow] = field(repr=False)
    blank_lines: int = 0
    files: tuple[Location, ...] = ()

    def where(self, number: int) -> str:
        """The location of a row for messages: ``data.jsonl:17`` or ``data.parquet: row 17``."""
        name, unit = self.name, self.unit
        if self.files:
            file, number = divmod(number, _FILE_ROWS)
            name, unit = self.files[file].name, _unit(self.files[file].suffix)
        return f"{name}:{number}" if unit == "line" else f"{name}: row {number}"

    def short(self, number: int) -> int | str:
        """The number of a row, or its location if it is in one of several files."""
        return self.where(number) if self.files else number


def _unit(suffix: str) -> str:
    return "line" if suffix.lstrip(".") in _LINE_FORMATS else "row"


def open_source(name: str, columns: _Columns | None = None) -> Source:
    """Open the dataset ``name``: a path, a glob, an fsspec URL, ``directory[:split]``, ``workbook.xlsx[:sheet]`` or a
    Hub id ``org/name[:split]``. ``columns`` are the format's names of the dataset's columns, where they differ.

    Problems of single rows are returned with the rows. A file that is unreadable or empty is refused here, or while its
    rows are read.

    Raises:
        DataError: nothing is there, the format is unknown, or the file is unreadable or has no rows.
    """
    location, names = locate(name), columns or {}
    kind = location.kind()
    if kind is None:
        return _set(location, matches(location), names) if is_glob(name) else _part_or_hub(location, names)
    if kind == "file":
        return _source(name, location.suffix.lstrip("."), _reader(location)(location, names))
    files = data_files(location, _READERS)
    return _set(location, files, names) if files else _directory(location, None)


def _directory(location: Location, split: str | None, name: str = "") -> Source:
    return _source(name or location.name, "directory", table_rows.read_directory(location, split))


def _reader(location: Location) -> Callable[[Location, _Columns], _Rows]:
    reader = _READERS.get(location.suffix)
    if reader is None:
        found = f"the extension {location.suffix!r}" if location.suffix else "no extension"
        message = f"has {found}, but the format is recognized by it: one of {', '.join(_READERS)}."
        raise DataError(location.name, [Problem(location.name, message, "Rename the file.")])
    return reader


def _set(location: Location, files: Sequence[Location], columns: _Columns) -> Source:
    readers = [(file, _reader(file)) for file in files]

    def rows() -> _Rows:
        for number, (file, read) in enumerate(readers):
            source = _source(file.name, "file", read(file, columns))
            for row in source.rows:
                yield replace(row, number=number * _FILE_ROWS + row.number)
            yield from [None] * source.blank_lines

    source = _source(location.name, "files", rows())
    source.files = tuple(files)
    return source


def _source(name: str, kind: str, rows: _Rows) -> Source:
    source = Source(name, kind, _unit(kind), iter(()))
    source.rows = _without_blanks(source, rows)
    return source


def _without_blanks(source: Source, rows: Iterator[RawRow | None]) -> Iterator[RawRow]:
    """``rows`` without blank lines (None), which are counted. Raises DataError if there are no rows."""
    found = False
    try:
        for row in rows:
            if row is None:
                source.blank_lines += 1
                continue
            found = True
            yield row
    except (OSError, EOFError) as error:
        raise unreadable(source.name, error) from error
    if not found:
        problem = Problem(source.name, "is empty: it has no rows.", "Check how it was written.")
        raise DataError(source.name, [problem])


def _part_or_hub(location: Location, columns: _Columns) -> Source:
    """The source for a name that is not a path: a split of a directory, a sheet, a Hub id, or an error."""
    name = location.name
    whole, _, part = name.rpartition(":")
    outer = locate(whole) if whole and part[:2] != "//" else None
    if outer is not None and outer.suffix == ".xlsx" and outer.kind() == "file":
        return _source(name, "xlsx", xlsx_rows.read_xlsx(replace(outer, name=name), columns, part))
    if is_url(name) or location.suffix in _READERS:
        raise missing(location)
    if outer is not None and outer.kind() == "directory":
        return _directory(outer, part, name)
    hub = _HUB_ID.fullmatch(name)
    if hub is None:
        raise missing(location)
    return _source(name, "hub", table_rows.read_hub(hub["id"], hub["split"] or "train"))
