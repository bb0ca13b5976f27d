# SPDX-License-Identifier: Apache-2.0
"""Cells of tables that have no types: what the column of a format holds, of the text in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tadrib.training.data.readers.json_rows import decode

_MAX_DIGITS = 100  # anything longer is not a length, and stays text


def _flag(cell: str) -> Any:
    return {"true": True, "false": False}.get(cell.strip().lower(), cell)


def _number(cell: str) -> Any:
    return int(cell) if cell.strip().isdecimal() and len(cell) < _MAX_DIGITS else cell


def _list(cell: str) -> Any:
    return _json(cell, "[")


def _json(cell: str, *beginnings: str) -> Any:
    if not cell.lstrip().startswith(beginnings):
        return cell
    try:
        return decode(cell)
    except (ValueError, RecursionError):
        return cell


def _conversation(cell: str) -> Any:
    """Messages, or one of ShareGPT's answers; any other text may begin with a bracket too."""
    value = _json(cell, "[", "{")
    first = value[0] if isinstance(value, list) and value else value
    return value if isinstance(first, dict) else cell


def _answers(cell: str) -> Any:
    value = _list(cell)
    return value if isinstance(value, list) else _conversation(cell)


_CELLS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("label", "kto_tag"), _flag),
    **dict.fromkeys(("chosen_length", "rejected_length"), _number),
    **dict.fromkeys(("messages", "conversations", "history", "hard_negatives"), _list),
    **dict.fromkeys(("completions", "scores"), _list),
    **dict.fromkeys(("prompt", "chosen", "completion"), _conversation),
    "rejected": _answers,
}


def cell_reader(columns: Mapping[str, str]) -> Callable[[str, str], Any]:
    """A function of a column's name and a cell's text that gives the cell's value; an empty cell is None. ``columns``
    are the format's names of the file's columns (format's: file's)."""
    ours = {theirs: name for name, theirs in columns.items()}

    def read(column: str, cell: str) -> Any:
        return None if cell == "" else _CELLS.get(ours.get(column, column), str)(cell)

    return read
