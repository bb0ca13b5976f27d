# SPDX-License-Identifier: Apache-2.0
"""`tadrib data check`: the report on a dataset or on those of a spec, as tables or as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tadrib.ray_jobs.cli.data_settings import DataSettings, data_settings
from tadrib.ray_jobs.driver.display import Display
from tadrib.training.phases import followed

if TYPE_CHECKING:
    from tadrib.training.data.report.check import DataReport


def data_report(
    file: str | None, *, method: str | None, spec_path: Path | None, model: str | None
) -> DataReport:
    """The report on ``file``, or on the datasets of the spec, with the method and settings of the spec, or with the
    defaults of ``method``.

    Lengths are in tokens of ``model``'s tokenizer, or that of the spec's model; without either, in characters.

    Raises SpecError if the method is missing or unknown, DataError if nothing can be read.
    """
    settings = data_settings(method=method, spec_path=spec_path, model=model)
    from tadrib.training.data.mixture import quotas
    from tadrib.training.data.report.joined import joined_report

    reports = []
    with Display(sys.stderr) as display, followed(display.show):
        for each in settings.each(file):
            reports.append(_report(each))
            reports[-1].name = each.name
    if weights := [
        each.weight for each in settings.config.datasets if each.weight is not None and file is None
    ]:
        for report, rows in zip(
            reports, quotas([each.usable_rows for each in reports], weights), strict=True
        ):
            report.train_rows, report.epoch_rows = report.usable_rows, rows
    report = joined_report(reports, settings.config)
    held = settings.config.eval_dataset_path
    if file is None and held is not None:
        report.eval = _report(settings.of_file(held))
    return report


def _report(settings: DataSettings) -> DataReport:
    from tadrib.training.data.report.check import check_data

    config, method, tokenizer = settings.config, settings.method, settings.tokenizer
    held = config.eval_dataset_path if config.eval_dataset_path != config.dataset_path else None
    report = check_data(config.dataset_path, method, config, tokenizer, held)
    if tokenizer is not None and report.usable_rows:
        from tadrib.training.model.limits import report_problems

        report.refusals += map(str, report_problems(config, method, report, tokenizer))
    return report


def print_report(report: DataReport, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.to_dict(), ensure_ascii=False, indent=2))
        return
    from tadrib.training.data.report.table import render

    Console(highlight=False).print(render(report))
