# SPDX-License-Identifier: Apache-2.0
"""Validate all rows of a dataset against a method's row model, and count every kind of problem."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tadrib.training.config.dataset.layout import AS_RECOGNISED, Layout
from tadrib.training.data.formats.row_reader import RowReader
from tadrib.training.data.readers.raw_row import RawRow
from tadrib.training.data.readers.sources import Source, open_source
from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.rows.row_problem import RowError, RowProblem
from tadrib.training.errors import Problem

MAX_PROBLEMS = 20
MAX_KINDS = 100
"""Limit on the kinds of problems per column, and on the unknown columns, counted separately: every row may have other
columns."""
_SHOWN_PLACES = 8
_INDEX = re.compile(r"\[\d+\]")


@dataclass(slots=True)
class ProblemCount:
    """All problems of one kind in one column: the first in full, the lines of the first few, and the count."""

    kind: str
    column: str
    message: str
    action: str
    count: int = 0
    numbers: list[int] = field(default_factory=list)

    def as_problem(self, source: Source) -> Problem:
        where = source.where(self.numbers[0]) + (f": {self.column}" if self.column else "")
        first, *lines = self.action.split("\n")
        return Problem(where, self.message, "\n".join([first + self._others(source.unit), *lines]))

    def _others(self, unit: str) -> str:
        others = self.numbers[1:]
        if not others:
            return ""
        more = self.count - len(self.numbers)
        tail = f" and {more:,} more" if more > 0 else ""
        plural = "s" if len(others) > 1 else ""
        return f" (also in {unit}{plural} {', '.join(map(str, others))}{tail})"


class BadRows:
    """The unusable rows of a dataset, with their problems."""

    def __init__(self, source: Source, max_bad_rows: int) -> None:
        self.source = source
        self.problems: dict[tuple[str, str], ProblemCount] = {}
        self.count = 0
        self._max = max_bad_rows
        self._kept: list[tuple[RawRow, Sequence[RowProblem]]] = []

    def add(self, row: RawRow, problems: Sequence[RowProblem]) -> None:
        self.count += 1
        if len(self._kept) < self._max:
            self._kept.append((row, problems))
        for problem in problems:
            key = (problem.kind, _INDEX.sub("[]", problem.column))
            if key not in self.problems and len(self.problems) >= MAX_KINDS:
                key = (problem.kind, "")
            first = ProblemCount(problem.kind, problem.column, problem.message, problem.action)
            counted = self.problems.setdefault(key, first)
            counted.count += 1
            if len(counted.numbers) < _SHOWN_PLACES and row.number not in counted.numbers:
                counted.numbers.append(row.number)

    def refusal(self, num_rows: int) -> list[Problem]:
        """Empty if there are at most ``max_bad_rows``; otherwise up to 20 kinds of problems, the most frequent first,
        and the count of all bad rows."""
        if self.count <= self._max:
            return []
        frequent = sorted(self.problems.values(), key=lambda counted: -counted.count)
        problems = [counted.as_problem(self.source) for counted in frequent[:MAX_PROBLEMS]]
        verb = "is" if self.count == 1 else "are"
        message = f"{self.count:,} of {num_rows:,} rows {verb} bad, and max_bad_rows is {self._max}."
        if len(frequent) > MAX_PROBLEMS:
            message += f" {len(frequent) - MAX_PROBLEMS} further kinds of problems are not shown."
        action = f"Fix them, or set max_bad_rows: {self.count} to leave them out (written to rejected.jsonl)."
        return [*problems, Problem(self.source.name, message, action, rule="max_bad_rows")]

    def write(self, path: Path) -> None:
        """One JSON object per bad row: its number in the source, what is wrong, and the row."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # A lone surrogate is not valid UTF-8; what backslashreplace writes for it is also its JSON escape.
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            for row, problems in self._kept:
                reasons = [f"{p.column}: {p.message}" if p.column else p.message for p in problems]
                record = {self.source.unit: row.number, "reason": reasons, "row": row.as_rejected()}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")


@dataclass(frozen=True, slots=True)
class ValidRow:
    """``index`` is the 0-based position among all rows, including bad ones: ``Group.row``."""

    index: int
    raw: RawRow
    dialogue: Dialogue


@dataclass(slots=True)
class Validated:
    """A dataset read to its end. ``unknown_columns`` counts the rows with each unknown column, for the first
    `MAX_KINDS` such columns; ``has_more_columns`` says that there were more. ``formats`` counts the rows read as each
    format."""

    source: Source
    rows: list[ValidRow]
    bad: BadRows
    num_rows: int
    unknown_columns: Counter[str]
    has_more_columns: bool
    formats: Counter[str]


def validate(name: str, method: str, max_bad_rows: int = 0, layout: Layout = AS_RECOGNISED) -> Validated:
    """Read and check every row of the dataset ``name``, laid out as ``layout`` says. Bad rows are collected.

    Raises:
        DataError: the dataset cannot be read at all.
    """
    source = open_source(name)
    bad = BadRows(source, max_bad_rows)
    reader = RowReader(method, layout)
    rows: list[ValidRow] = []
    unknown: Counter[str] = Counter()
    formats: Counter[str] = Counter()
    has_more = False
    index = -1
    for index, raw in enumerate(source.rows):
        if raw.value is None:
            bad.add(raw, [raw.problem] if raw.problem else [])
            continue
        try:
            read = reader.read(raw.value)
        except RowError as error:
            bad.add(raw, error.problems)
            continue
        rows.append(ValidRow(index, raw, read.row.dialogue))
        formats[read.format] += 1
        has_more |= not _count(unknown, read.unused)
    return Validated(source, rows, bad, index + 1, unknown, has_more, formats)


def _count(counts: Counter[str], columns: Sequence[str]) -> bool:
    """Count ``columns``, new ones up to `MAX_KINDS`. Returns whether all were counted."""
    is_whole = True
    for column in columns:
        if column in counts or len(counts) < MAX_KINDS:
            counts[column] += 1
        else:
            is_whole = False
    return is_whole
