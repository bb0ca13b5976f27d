# SPDX-License-Identifier: Apache-2.0
"""Raw rows of a dataset from any source: a file, a `datasets` directory, a Hub id or an object store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tadrib.training.config.locations import is_url
from tadrib.training.data.readers import csv_rows, json_rows, table_rows
from tadrib.training.data.readers.locations import Location, locate, missing, unreadable
from tadrib.training.data.readers.raw_row import RawRow
from tadrib.training.errors import DataError, Problem

_HUB_ID = re.compile(r"(?P<id>[\w][\w.-]*/[\w][\w.-]*)(?::(?P<split>[\w.\-\[\]%:]+))?")
_READERS = {
    ".jsonl": json_rows.read_json_lines,
    ".ndjson": json_rows.read_json_lines,
    ".json": json_rows.read_json,
    ".csv": csv_rows.read_csv,
    ".tsv": csv_rows.read_csv,
    ".parquet": table_rows.read_parquet,
}
_LINE_FORMATS = ("jsonl", "ndjson", "csv", "tsv")


@dataclass(slots=True)
class Source:
    """A dataset being read. ``blank_lines`` is final once ``rows`` is exhausted.

    ``unit`` says what ``RawRow.number`` counts: "line" in a text file, or "row" in a table.
    """

    name: str
    kind: str
    unit: str
    rows: Iterator[RawRow] = field(repr=False)
    blank_lines: int = 0

    def where(self, number: int) -> str:
        """The location of a row for messages: ``data.jsonl:17`` or ``data.parquet: row 17``."""
        return f"{self.name}:{number}" if self.unit == "line" else f"{self.name}: row {number}"


def open_source(name: str) -> Source:
    """Open the dataset ``name``: a path, an fsspec URL, ``directory[:split]`` or a Hub id ``org/name[:split]``.

    Problems of single rows are returned with the rows. A file that is unreadable or empty is refused here, or while its
    rows are read.

    Raises:
        DataError: nothing is there, the format is unknown, or the file is unreadable or has no rows.
    """
    location = locate(name)
    kind = location.kind()
    if kind is None:
        return _split_or_hub(location)
    if kind == "directory":
        return _source(name, "directory", table_rows.read_directory(location, None))
    reader = _READERS.get(location.suffix)
    if reader is None:
        found = f"the extension {location.suffix!r}" if location.suffix else "no extension"
        message = f"has {found}, but the format is recognized by it: one of {', '.join(_READERS)}."
        raise DataError(name, [Problem(name, message, "Rename the file.")])
    return _source(name, location.suffix.lstrip("."), reader(location))


def _source(name: str, kind: str, rows: Iterator[RawRow | None]) -> Source:
    source = Source(name, kind, "line" if kind in _LINE_FORMATS else "row", iter(()))
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


def _split_or_hub(location: Location) -> Source:
    """The source for a name that is not a path: a split of a directory, a Hub id, or an error."""
    name = location.name
    if is_url(name) or location.suffix in _READERS:
        raise missing(location)
    folder, _, split = name.rpartition(":")
    if folder and locate(folder).kind() == "directory":
        return _source(name, "directory", table_rows.read_directory(locate(folder), split))
    hub = _HUB_ID.fullmatch(name)
    if hub is None:
        raise missing(location)
    return _source(name, "hub", table_rows.read_hub(hub["id"], hub["split"] or "train"))
