# SPDX-License-Identifier: Apache-2.0
"""A problem with one row of a dataset, independent of the row's place and of how often it occurs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowProblem:
    """``kind`` groups similar problems for counting. ``column`` says where in the row (``rejected[1]``; empty for the
    whole row)."""

    kind: str
    column: str
    message: str
    action: str = ""


class RowError(Exception):
    """A row cannot be used. The row pipeline catches and counts it; users see a DataError."""

    def __init__(self, *problems: RowProblem) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{p.column}: {p.message}" for p in problems))


class RepeatedKeys(dict):
    """A JSON object with a duplicate key; ``repeated`` is the first such key. The last value wins, as usual in JSON."""

    repeated: str = ""


def shown(value: object, limit: int = 60) -> str:
    """``repr(value)`` cut to ``limit`` characters, for messages."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
