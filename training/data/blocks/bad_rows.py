# SPDX-License-Identifier: Apache-2.0
"""Bad rows: the unusable rows of a dataset, with every kind of problem counted."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from tadrib.training.data.readers.raw_row import RawRow
from tadrib.training.data.rows.row_problem import RowProblem
from tadrib.training.errors import Problem

if TYPE_CHECKING:
    from tadrib.training.data.readers.sources import Source

MAX_PROBLEMS = 20
MAX_KINDS = 100
"""Limit on the kinds of problems per column that are counted separately: every row may have other columns."""
_SHOWN_PLACES = 8
_INDEX = re.compile(r"\[\d+\]")


class ProblemCount(BaseModel):
    """All problems of one kind in one column: the first in full, the lines of the first few, and the count."""

    kind: str
    column: str
    message: str
    action: str = ""
    count: int = 0
    numbers: list[int] = Field(default_factory=list)

    def add(self, other: ProblemCount) -> None:
        self.count += other.count
        fresh = [number for number in other.numbers if number not in self.numbers]
        self.numbers += fresh[: _SHOWN_PLACES - len(self.numbers)]

    def as_problem(self, source: Source) -> Problem:
        where = source.where(self.numbers[0]) + (f": {self.column}" if self.column else "")
        first, *lines = self.action.split("\n")
        return Problem(where, self.message, "\n".join([first + self._others(source), *lines]))

    def _others(self, source: Source) -> str:
        others = self.numbers[1:]
        if not others:
            return ""
        more = self.count - len(self.numbers)
        tail = f" and {more:,} more" if more > 0 else ""
        unit = "" if source.files else f"{source.unit}{'s' if len(others) > 1 else ''} "
        places = ", ".join(str(source.short(number)) for number in others)
        return f" (also in {unit}{places}{tail})"


class RejectedRow(BaseModel):
    """A bad row as ``rejected.jsonl`` shows it; ``row`` is JSON."""

    number: int
    reason: list[str]
    row: str


class BadRows(BaseModel):
    """``kept`` are the first of the ``count`` rows; ``problems`` counts what is wrong with all of them, by kind and
    column."""

    count: int = 0
    problems: dict[str, ProblemCount] = Field(default_factory=dict)
    kept: list[RejectedRow] = Field(default_factory=list)

    def add(self, row: RawRow, problems: Sequence[RowProblem]) -> None:
        self.count += 1
        reason = [escaped(f"{p.column}: {p.message}" if p.column else p.message) for p in problems]
        content = escaped(json.dumps(row.as_rejected(), ensure_ascii=False))
        self.kept.append(RejectedRow(number=row.number, reason=reason, row=content))
        for problem in problems:
            key = escaped(f"{problem.kind} {_INDEX.sub('[]', problem.column)}")
            texts = {name: escaped(text) for name, text in asdict(problem).items()}
            self._count(key, ProblemCount(**texts, count=1, numbers=[row.number]))

    def merge(self, other: BadRows, most: int) -> None:
        """Add the bad rows that follow; ``most`` of all are kept."""
        self.count += other.count
        self.kept += other.kept[: max(0, most - len(self.kept))]
        for key, counted in other.problems.items():
            self._count(key, counted)

    def _count(self, key: str, found: ProblemCount) -> None:
        if key not in self.problems and len(self.problems) >= MAX_KINDS:
            key = f"{found.kind} "
        if key in self.problems:
            self.problems[key].add(found)
        else:
            self.problems[key] = found.model_copy(deep=True)

    def refusal(self, source: Source, num_rows: int, max_bad_rows: int) -> list[Problem]:
        """Empty if there are at most ``max_bad_rows``; otherwise up to 20 kinds of problems, the most frequent first,
        and the count of all bad rows."""
        if self.count <= max_bad_rows:
            return []
        frequent = sorted(self.problems.values(), key=lambda counted: -counted.count)
        problems = [counted.as_problem(source) for counted in frequent[:MAX_PROBLEMS]]
        verb = "is" if self.count == 1 else "are"
        message = f"{self.count:,} of {num_rows:,} rows {verb} bad, and max_bad_rows is {max_bad_rows}."
        if len(frequent) > MAX_PROBLEMS:
            message += f" {len(frequent) - MAX_PROBLEMS} further kinds of problems are not shown."
        action = f"Fix them, or set max_bad_rows: {self.count} to leave them out (written to rejected.jsonl)."
        return [*problems, Problem(source.name, message, action, rule="max_bad_rows")]

    def write(self, path: Path, source: Source) -> None:
        """One JSON object per bad row that was kept: its line or row in the source, what is wrong, and the row."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            for rejected in self.kept:
                place, reason = (
                    json.dumps(each, ensure_ascii=False)
                    for each in (source.short(rejected.number), rejected.reason)
                )
                file.write(f'{{"{source.unit}": {place}, "reason": {reason}, "row": {rejected.row}}}\n')


def escaped(text: str) -> str:
    """``text`` with lone surrogates, which no UTF-8 can hold, as the escapes of JSON."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
