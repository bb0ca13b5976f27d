# SPDX-License-Identifier: Apache-2.0
"""Clean a dataset: a copy without bad, repeated, nearly repeated and contaminated rows, and a report on those."""

from __future__ import annotations

import json
import math
import os
import tempfile
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tadrib.training.data.formats.row_reader import RowReader
from tadrib.training.data.quality.checked_rows import checked_rows
from tadrib.training.data.quality.contamination import RULE, EvaluationTexts
from tadrib.training.data.quality.near_duplicates import SIMILAR, NearDuplicates
from tadrib.training.data.quality.row_texts import RowTexts
from tadrib.training.data.readers.sources import Source, open_source
from tadrib.training.errors import DataError, Problem

REASONS = {
    "bad": "rows that training cannot use (`tadrib data check` says why)",
    "contaminated": RULE,
    "repeated": "rows equal to an earlier one in everything that is trained on",
    "near": f"rows whose prompt and answers both have a Jaccard similarity of at least {SIMILAR} to those of an "
    "earlier row that is kept, by stretches of five characters (estimated by MinHash), and with the same numbers; "
    "spelling aside",
}
"""Why a row is left out, in the order in which the reasons are tried."""


@dataclass(slots=True)
class CleaningReport:
    """``left_out`` has the numbers of the rows left out by reason (see `REASONS`), each with that of the row that it
    repeats, or None. ``unit`` is what they count: lines or rows."""

    dataset: str
    output: str
    against: list[str]
    unit: str
    rows: int = 0
    left_out: dict[str, list[tuple[int | str, int | str | None]]] = field(
        default_factory=lambda: {name: [] for name in REASONS}
    )

    @property
    def kept(self) -> int:
        return self.rows - sum(map(len, self.left_out.values()))

    def to_dict(self) -> dict[str, Any]:
        reasons = {
            name: {
                "count": len(rows),
                "rule": REASONS[name],
                "rows": [
                    {self.unit: row} if other is None else {self.unit: row, "repeats": other}
                    for row, other in rows
                ],
            }
            for name, rows in self.left_out.items()
        }
        return {
            "dataset": self.dataset,
            "output": self.output,
            "against": self.against,
            "rows": self.rows,
            "kept": self.kept,
            "left_out": reasons,
        }


def clean(
    name: str, reader: RowReader, output: Path, against: Sequence[str] = (), *, near: bool = True
) -> CleaningReport:
    """Write the rows of the dataset ``name`` to ``output`` (JSON Lines), without those that repeat an earlier one,
    nearly repeat one (unless ``near`` is false), or stand in the evaluation files ``against``; and the report beside
    it, as ``{output}.report.json``. Other rows stay as they are, in their order.

    Raises:
        DataError: something cannot be read, no row would be left, or ``output`` exists.
    """
    if output.exists() or output.suffix != ".jsonl":
        message = "exists." if output.exists() else "does not end in .jsonl, which is what is written."
        raise DataError(str(output), [Problem(str(output), message, "Choose another name.")])
    source = open_source(name, reader.layout.columns)
    report = CleaningReport(name, str(output), list(against), source.unit)
    left_out = _decide(report, source, reader, EvaluationTexts(against), near=near)
    if not report.kept:
        raise DataError(
            name, [Problem(name, f"no row of {report.rows:,} would be left.", "Compare other data.")]
        )
    _write(name, output, left_out, reader)
    text = json.dumps(report.to_dict(), ensure_ascii=False, indent=1) + "\n"
    output.with_name(f"{output.name}.report.json").write_text(text, encoding="utf-8")
    return report


def _decide(
    report: CleaningReport, source: Source, reader: RowReader, evaluation: EvaluationTexts, *, near: bool
) -> set[int]:
    """The indices of the rows to leave out, which are told to ``report``."""
    left_out: set[int] = set()
    indices, numbers = array("q"), array("q")
    first: dict[int, int] = {}

    def leave(index: int, reason: str, number: int, other: int | None = None) -> None:
        left_out.add(index)
        report.left_out[reason].append((source.short(number), None if other is None else source.short(other)))

    with tempfile.TemporaryFile() as file:
        signatures = NearDuplicates(file)
        for row in checked_rows(source, reader):
            report.rows += 1
            number = row.raw.number
            if row.dialogue is None:
                leave(row.index, "bad", number)
                continue
            texts = RowTexts(row.dialogue)
            if evaluation.contain(row.dialogue):
                leave(row.index, "contaminated", number)
            elif texts.key in first:
                leave(row.index, "repeated", number, first[texts.key])
            else:
                first[texts.key] = number
                indices.append(row.index)
                numbers.append(number)
                signatures.add(texts)
        for later, earlier in signatures.pairs() if near else ():
            if indices[earlier] not in left_out:
                leave(indices[later], "near", numbers[later], numbers[earlier])
    return left_out


def _write(name: str, output: Path, left_out: set[int], reader: RowReader) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    aside = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            for index, row in enumerate(open_source(name, reader.layout.columns).rows):
                if index not in left_out:
                    file.write(json.dumps(_plain(row.value), ensure_ascii=False, default=str) + "\n")
        aside.rename(output)
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()


def _plain(value: Any) -> Any:
    """``value`` without NaN and infinity, which JSON has no numbers for: in a row they are missing values."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
