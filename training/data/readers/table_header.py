# SPDX-License-Identifier: Apache-2.0
"""The header of a table without types, and the number of cells in its rows."""

from __future__ import annotations

from collections.abc import Sequence

from tadrib.training.data.rows.row_problem import RowProblem, shown
from tadrib.training.errors import DataError, Problem


def check_header(name: str, header: Sequence[str]) -> None:
    """Raise DataError for a column of the file ``name`` that has no name, or that of another one."""
    for column in header:
        if not column.strip():
            raise DataError(
                name, [Problem(f"{name}:1", "has a column without a name.", "Name or remove it.")]
            )
        if header.count(column) > 1:
            problem = Problem(f"{name}:1", f"has the column {shown(column)} twice.", "Keep one of them.")
            raise DataError(name, [problem])


def wrong_cells(count: int, header: Sequence[str], *, at_most: bool = False) -> RowProblem | None:
    """The problem of a row with ``count`` cells; None if it has one for each column, or ``at_most`` that."""
    if count == len(header) or (at_most and count < len(header)):
        return None
    message = f"has {count} cells, but the header has {len(header)} columns."
    action = "Quote cells that hold commas, quotes or line breaks."
    return RowProblem("wrong_cells", "", message, action if not at_most else "Name or remove the others.")
