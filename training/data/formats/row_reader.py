# SPDX-License-Identifier: Apache-2.0
"""Read a row in whatever format and under whatever names its dataset has it, as a row of the method."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tadrib.training.config.dataset.layout import AS_RECOGNISED, Layout
from tadrib.training.data.formats.registry import FORMATS, recognised
from tadrib.training.data.formats.row_format import RowFormat, kind_of
from tadrib.training.data.rows.messages import is_missing
from tadrib.training.data.rows.models import Row, parse_row
from tadrib.training.data.rows.row_problem import RowError, RowProblem
from tadrib.training.errors import named

_FIRST_NAME = re.compile(r"[^.\[]+")


@dataclass(frozen=True, slots=True)
class ReadRow:
    """``row`` in the method's own form, the name of the ``format`` it was read as, and its ``unused`` columns, as its
    dataset names them."""

    row: Row
    format: str
    unused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads the rows of one dataset for one method. It has no state, and can be sent to other processes."""

    method: str
    layout: Layout = AS_RECOGNISED

    def read(self, value: dict[str, Any]) -> ReadRow:
        """``value`` as a row. Raises RowError with every problem, told in the dataset's own names."""
        names = self.layout.columns
        try:
            renamed = _renamed(value, names)
            known = self._format(renamed)
            converted = known.convert(renamed, kind_of(self.method), self.layout.tags)
            names = {**names, **{ours: names.get(name, name) for ours, name in converted.origins.items()}}
            row = parse_row(self.method, converted.value)
        except RowError as error:
            raise RowError(
                *(replace(each, column=_theirs(each.column, names)) for each in error.problems)
            ) from error
        columns = [name for name in converted.value if name not in type(row).model_fields]
        return ReadRow(row, known.name, tuple(_theirs(name, names) for name in [*columns, *row.unused]))

    def _format(self, value: dict[str, Any]) -> RowFormat:
        kind = kind_of(self.method)
        if self.layout.format == "auto":
            return recognised({name: item for name, item in value.items() if not is_missing(item)}, kind)
        known = FORMATS[self.layout.format]
        if kind not in known.kinds:
            message = f"format: {known.name} gives no rows of method {self.method}."
            raise RowError(RowProblem("format", "", message, "Remove the key, or choose another method."))
        return known


def _theirs(column: str, names: Mapping[str, str]) -> str:
    """``column``, which may go on as in ``messages[1].content``, under the dataset's name in ``names``."""
    return _FIRST_NAME.sub(lambda found: names.get(found[0], found[0]), column, count=1)


def _renamed(value: dict[str, Any], columns: dict[str, str]) -> dict[str, Any]:
    """``value`` with the columns named as in ``columns`` (ours: theirs). A row need not have all of them, as a column
    may be optional. Raises RowError if a name would then stand for two columns."""
    if not columns:
        return value
    ours = {theirs: name for name, theirs in columns.items()}
    for name, theirs in columns.items():
        if theirs in value and name in value and name not in ours:
            message = f"is there beside {theirs!r}, which columns: names as {name!r}; found {named(value)}."
            action = "Remove one of them, or give this one another meaning under columns:."
            raise RowError(RowProblem("two_columns", name, message, action))
    return {ours.get(name, name): item for name, item in value.items()}
