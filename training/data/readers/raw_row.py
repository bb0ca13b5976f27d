# SPDX-License-Identifier: Apache-2.0
"""A row as it is in its file, before it is interpreted for a method."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tadrib.training.data.rows.row_problem import RowProblem

_KEPT_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class RawRow:
    """``number`` is the line or row number, from 1. Exactly one of ``value`` and ``problem`` is set.

    ``text`` is the readable part of a row without a ``value``, up to 2,000 characters.
    """

    number: int
    value: dict[str, Any] | None
    problem: RowProblem | None = None
    text: str = ""

    def as_rejected(self) -> Any:
        """The row's entry in ``rejected.jsonl``: its value, or its text."""
        if self.value is None:
            return self.text
        return json.loads(json.dumps(self.value, default=str, ensure_ascii=True), parse_constant=str)


def bad_row(number: int, problem: RowProblem, text: str = "") -> RawRow:
    return RawRow(number, None, problem, text[:_KEPT_CHARACTERS])
