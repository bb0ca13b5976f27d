# SPDX-License-Identifier: Apache-2.0
"""One row as it stands in its file, before anything is known about the method it is meant for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tadrib.training.data.rows.row_problem import RowProblem

_KEPT_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class RawRow:
    """``number`` is the line or row number, from 1. Exactly one of ``value`` and ``problem`` is set.

    ``text`` is what could be read of a row that has no ``value``, cut at 2,000 characters.
    """

    number: int
    value: dict[str, Any] | None
    problem: RowProblem | None = None
    text: str = ""

    def as_rejected(self) -> Any:
        """What ``rejected.jsonl`` keeps of the row: the row itself, or its text."""
        if self.value is None:
            return self.text
        return json.loads(json.dumps(self.value, default=str, ensure_ascii=True), parse_constant=str)


def bad_row(number: int, problem: RowProblem, text: str = "") -> RawRow:
    return RawRow(number, None, problem, text[:_KEPT_CHARACTERS])
