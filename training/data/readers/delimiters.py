# SPDX-License-Identifier: Apache-2.0
"""The delimiter of a text table, told from its header and first rows: Excel's follows the language of its Windows."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from itertools import islice

from tadrib.training.config.dataset.layout import COLUMNS
from tadrib.training.errors import DataError, Problem

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SAMPLE_ROWS = 20
MARK = "sep="
"""Excel takes a first line ``sep=;`` for the delimiter of what follows."""


def delimiter_of(name: str, suffix: str, sample: str, columns: Collection[str]) -> str:
    """The delimiter of the file ``name``, whose text begins with ``sample``; ``columns`` are names that it may have.

    The header decides by the columns that it names, otherwise the rows by having as many cells as the header.

    Raises:
        DataError: more than one delimiter would do.
    """
    usual = "\t" if suffix == ".tsv" else ","
    first = sample.partition("\n")[0].rstrip("\r")
    if first.lower().startswith(MARK) and first[len(MARK) :] in _DELIMITERS:
        return first[len(MARK) :]
    tables = {each: _table(sample, each) for each in _DELIMITERS}
    likely = [each for each, table in tables.items() if table and len(table[0]) > 1]
    if usual in likely and suffix == ".tsv":
        return usual
    known = {each: len({*COLUMNS, *columns}.intersection(map(str.strip, tables[each][0]))) for each in likely}
    likely = [each for each in likely if known[each] == max(known.values())]
    if len(likely) > 1:
        even = [each for each in likely if all(len(row) == len(tables[each][0]) for row in tables[each])]
        likely = even or likely
    if len(likely) > 1:
        found = " or ".join(_DELIMITERS[each] for each in likely)
        message = f"has {found} between its columns, and its header does not tell which."
        raise DataError(name, [Problem(f"{name}:1", message, "Quote the cells that hold the other one.")])
    return likely[0] if likely else usual


def _table(sample: str, delimiter: str) -> list[list[str]]:
    """The first rows of ``sample``, without its last line, which may be cut."""
    whole = sample.rpartition("\n")[0] or sample
    try:
        rows = csv.reader(io.StringIO(whole, newline=""), delimiter=delimiter)
        return [row for row in islice(rows, _SAMPLE_ROWS) if row]
    except csv.Error:
        return []
