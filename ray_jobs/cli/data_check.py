# SPDX-License-Identifier: Apache-2.0
"""`tadrib data check`: the report on a dataset, as a table or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tadrib.ray_jobs.cli.data_settings import data_settings

if TYPE_CHECKING:
    from tadrib.training.data.report.check import DataReport


def data_report(file: str, *, method: str | None, spec_path: Path | None, model: str | None) -> DataReport:
    """The report on ``file``, with method and settings of the spec, or the defaults of ``method``.

    Tokens are counted by the tokenizer of ``model`` or of the spec's model; without either, lengths are in
    characters.

    Raises SpecError for a method that is missing or unknown, DataError when nothing can be read.
    """
    settings = data_settings(method=method, spec_path=spec_path, model=model)
    from tadrib.training.data.report.check import check_data

    return check_data(file, settings.method, settings.config, settings.tokenizer)


def print_report(report: DataReport, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.to_dict(), ensure_ascii=False, indent=2))
        return
    from tadrib.training.data.report.table import render

    Console(highlight=False).print(render(report))
