# SPDX-License-Identifier: Apache-2.0
"""MetricsFile: ``metrics.jsonl``, one row per logged step."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tadrib.training.files.atomic_file import write_atomically
from tadrib.training.files.regular_file import read_own
from tadrib.training.notices import warn


class MetricsFile:
    """The rows at ``path``, ordered by step; none while there is no file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Append a row. NaN and infinity are written as strings, because JSON has no numbers for them.

        A new line is started if a full disk left the last one unfinished.
        """
        with self.path.open("a+b") as file:
            size = file.tell()
            file.seek(max(0, size - 1))
            is_torn = file.read() not in (b"", b"\n")
            file.write(f"{chr(10) * is_torn}{json.dumps(_plain(row))}\n".encode())

    def read(self) -> list[dict[str, Any]]:
        """The complete rows. Raises ResourceError if ``path`` is something other than a file."""
        return parse_rows(self._text())

    def rewind(self, step: int, history: Iterable[Mapping[str, Any]] = ()) -> None:
        """Drop the rows after ``step``: a run resumed there computes them again.

        ``history`` holds the rows up to ``step`` recorded in its checkpoint. It fills in rows that the file lacks
        because the machine was lost before they reached the store.
        """
        text = self._text()
        found = parse_rows(text)
        if damaged := sum(bool(line.strip()) for line in text.splitlines()) - len(found):
            warn(
                f"{self.path}: {damaged} corrupt lines are left out; a crash or a full disk can leave such lines"
            )
        kept = [row for row in found if row["step"] <= step]
        last = max((row["step"] for row in kept), default=-1)
        kept += [_plain(row) for row in history if _is_row(row) and last < row["step"] <= step]
        if kept or self.path.exists():
            write_atomically(self.path, "".join(f"{json.dumps(row)}\n" for row in kept))

    def _text(self) -> str:
        return (read_own(self.path) or b"").decode("utf-8", errors="replace")


def parse_rows(text: str) -> list[dict[str, Any]]:
    """All rows of ``text``. Lines that a crash left unfinished, or that are not metrics, are skipped."""
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if _is_row(row):
            rows.append(row)
    return rows


def _is_row(row: Any) -> bool:
    """Whether ``row`` is a mapping of plain values with a valid ``step``."""
    return (
        isinstance(row, Mapping)
        and type(row.get("step")) is int
        and 0 <= row["step"] < 10**15
        and not any(isinstance(value, (dict, list)) for value in row.values())
    )


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: str(v) if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
