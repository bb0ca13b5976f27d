# SPDX-License-Identifier: Apache-2.0
"""What is wrong with one row of a dataset, before it is known where the row stands or how often it
happens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowProblem:
    """``kind`` groups like problems for counting, ``column`` is where in the row (``rejected[1]``; empty:
    the row)."""

    kind: str
    column: str
    message: str
    action: str = ""


class RowError(Exception):
    """A row that cannot be used. Caught by the row pipeline, which counts it; users see a DataError."""

    def __init__(self, *problems: RowProblem) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{p.column}: {p.message}" for p in problems))


class RepeatedKeys(dict):
    """A JSON object that gives a key twice; ``repeated`` is the first such key. The last value is kept, as
    in JSON."""

    repeated: str = ""


def shown(value: object, limit: int = 60) -> str:
    """``value`` as a person would recognise it, cut to ``limit`` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
