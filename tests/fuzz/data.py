# SPDX-License-Identifier: Apache-2.0
"""Data check of an input: the report, as a table and as JSON."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from random import Random

from rich.console import Console

from tadrib.training.config import METHODS, CommonConfig
from tadrib.training.data.blocks.encoded_rows import encode_rows
from tadrib.training.data.blocks.encoding_job import EncodingJob
from tadrib.training.data.report.check import DataReport, check_data
from tadrib.training.data.report.table import render
from tadrib.training.errors import DataError, Problem

HOW_MANY_ARE_SHOWN = 0.05


@cache
def _config(method: str, max_bad_rows: int) -> CommonConfig:
    return METHODS[method].config(max_bad_rows=max_bad_rows)


def check(random: Random, path: Path, method: str) -> None:
    """As `tadrib data check`, and what preparing writes of the bad rows."""
    report = check_data(str(path), method, _config(method, random.choice([0, 100])), None)
    again = DataReport.from_dict(json.loads(json.dumps(report.to_dict(), ensure_ascii=False)))
    assert again == report
    if random.random() < HOW_MANY_ARE_SHOWN:
        Console(file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")).print(
            render(report)
        )
    if report.bad_rows:
        rows = encode_rows(str(path), EncodingJob(_config(method, 100), method, None))
        rows.facts.bad.write(path.with_name("rejected.jsonl"), rows.source)
    if not report.ok:
        raise DataError(path.name, [Problem("", refusal) for refusal in report.refusals])
