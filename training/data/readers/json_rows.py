# SPDX-License-Identifier: Apache-2.0
"""Rows of JSON Lines files and of JSON files (an array, or an object with a ``data`` array)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tadrib.training.data.readers.lines import Line, decode_line, read_lines
from tadrib.training.data.readers.locations import Location
from tadrib.training.data.readers.raw_row import RawRow, bad_row
from tadrib.training.data.rows.row_problem import RepeatedKeys, RowProblem, shown
from tadrib.training.errors import DataError, Problem, clip, named


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    marked = RepeatedKeys(value)
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            marked.repeated = key
            break
        seen.add(key)
    return marked


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
_MAX_DEPTH = 100
"""Maximum nesting of lists and objects in a row. Conversations have four levels; Python's recursion limit is 1,000."""


def decode(text: str) -> Any:
    """The JSON value in ``text``. Raises ValueError, or RecursionError if it is nested too deeply."""
    value = _DECODER.decode(text)
    level = [value] if text.count("[") + text.count("{") > _MAX_DEPTH else []
    for _ in range(_MAX_DEPTH):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return value
    raise RecursionError


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def read_json_lines(location: Location) -> Iterator[RawRow | None]:
    """One row per line; None for a blank line."""
    with location.open() as stream:
        for line in read_lines(stream):
            text = decode_line(line)
            if isinstance(text, RowProblem):
                yield bad_row(line.number, text, line.data[:2000].decode("utf-8", "backslashreplace"))
            elif not text.strip():
                yield None
            else:
                yield _parse_line(line.number, text)


def _parse_line(number: int, text: str) -> RawRow:
    try:
        value = decode(text)
    except (ValueError, RecursionError) as error:
        message, action = (
            f"is not valid JSON: {_reason(error)}.",
            "Each line must be one complete JSON object.",
        )
        if number == 1 and text.lstrip().startswith("["):
            action = "The file looks like a single JSON array: give it the extension .json."
        return bad_row(number, RowProblem("broken_json", "", message, action), text)
    return _as_row(number, value)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    if isinstance(error, RecursionError):
        return f"it is nested too deeply, more than {_MAX_DEPTH} levels"
    return "it contains a number with thousands of digits"  # Python parses at most 4,300


def _as_row(number: int, value: Any) -> RawRow:
    if isinstance(value, RepeatedKeys):
        message = f"the key {shown(value.repeated)} occurs twice in the row."
        problem = RowProblem("repeated_key", clip(value.repeated), message, "Keep one of them.")
    elif not isinstance(value, dict):
        problem = RowProblem(
            "not_an_object", "", f"expected an object with named columns, found {shown(value)}."
        )
    else:
        return RawRow(number, value)
    return bad_row(number, problem, json.dumps(value, ensure_ascii=False))


def read_json(location: Location) -> Iterator[RawRow | None]:
    """Rows of an array, or of the array under ``data``. A JSON Lines file with the wrong extension is read as such.

    Raises:
        DataError: the file is not JSON, or contains no array.
    """
    with location.open() as stream:
        content = stream.read()
    text = _decode(location.name, content)
    if not text.strip():
        return
    try:
        value = decode(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            yield from read_json_lines(location)
            return
        where = f"{location.name}:{error.lineno}"
        problem = Problem(
            where, f"is not valid JSON: {error.msg} at column {error.colno}.", "Fix the file there."
        )
        raise DataError(location.name, [problem]) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            location.name, [Problem(location.name, f"is not valid JSON: {_reason(error)}.")]
        ) from error
    for number, item in enumerate(_array(location.name, value), start=1):
        yield _as_row(number, item)


def _decode(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        start = content.rfind(b"\n", 0, error.start) + 1
        data = content[start : error.end]
        line = Line(content.count(b"\n", 0, start) + 1, start, len(data), data)
        problem = decode_line(line)
        assert isinstance(problem, RowProblem)
        raise DataError(name, [Problem(f"{name}:{line.number}", problem.message, problem.action)]) from error


def _array(name: str, value: Any) -> list[Any]:
    rows = value.get("data") if isinstance(value, dict) else value
    if isinstance(rows, list):
        return rows
    found = f"an object with the keys {named(value)}" if isinstance(value, dict) else shown(value)
    message = f'expected an array of rows, or {{"data": [rows]}}; found {found}.'
    raise DataError(name, [Problem(name, message, "Write one array, or one row per line as .jsonl.")])
