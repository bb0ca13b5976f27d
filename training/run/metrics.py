# SPDX-License-Identifier: Apache-2.0
"""MetricsFile: ``metrics.jsonl``, one row a logged step."""

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
    """The rows at ``path``, in the order of their steps; none while there is no file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; NaN and infinity, which JSON has no numbers for, are written as strings.

        It begins a line of its own also after one that a full disk left unfinished.
        """
        with self.path.open("a+b") as file:
            size = file.tell()
            file.seek(max(0, size - 1))
            is_torn = file.read() not in (b"", b"\n")
            file.write(f"{chr(10) * is_torn}{json.dumps(_plain(row))}\n".encode())

    def read(self) -> list[dict[str, Any]]:
        """The whole rows. Raises ResourceError when something else than a file stands there."""
        return parse_rows(self._text())

    def rewind(self, step: int, history: Iterable[Mapping[str, Any]] = ()) -> None:
        """Drop the rows after ``step``, which a run resumed there computes again: one trajectory stays.

        ``history`` is what the checkpoint of ``step`` knows of the steps up to it. Where the file ends before that, as
        the machine was lost before the last rows reached the store, they are taken from there.
        """
        text = self._text()
        found = parse_rows(text)
        if damaged := sum(bool(line.strip()) for line in text.splitlines()) - len(found):
            warn(
                f"{self.path}: {damaged} of its lines are damaged and left out; a crash or a full disk does that"
            )
        kept = [row for row in found if row["step"] <= step]
        last = max((row["step"] for row in kept), default=-1)
        kept += [_plain(row) for row in history if _is_row(row) and last < row["step"] <= step]
        if kept or self.path.exists():
            write_atomically(self.path, "".join(f"{json.dumps(row)}\n" for row in kept))

    def _text(self) -> str:
        return (read_own(self.path) or b"").decode("utf-8", errors="replace")


def parse_rows(text: str) -> list[dict[str, Any]]:
    """All rows; a line that a crash left unfinished, or that is none of a run's, is passed over."""
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
    """Whether it is a mapping of plain values with the number of a step."""
    return (
        isinstance(row, Mapping)
        and type(row.get("step")) is int
        and 0 <= row["step"] < 10**15
        and not any(isinstance(value, (dict, list)) for value in row.values())
    )


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: str(v) if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
