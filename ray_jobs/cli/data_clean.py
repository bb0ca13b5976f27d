# SPDX-License-Identifier: Apache-2.0
"""`tadrib data clean`: a copy of a dataset without repeated and contaminated rows, and what was left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tadrib.ray_jobs.cli.data_settings import data_settings

_SHOWN = 8


def clean_data(
    file: str,
    output: Path,
    *,
    against: Sequence[str],
    near: bool,
    method: str | None,
    spec_path: Path | None,
    as_json: bool,
) -> None:
    """Write the cleaned copy and its report, and print the report. The evaluation data of a spec are ``against``, too.

    Raises SpecError for a method that is missing or unknown, DataError when something cannot be read or written.
    """
    whole = data_settings(method=method, spec_path=spec_path, model=None, with_tokenizer=False)
    settings = whole.of_file(file)
    from tadrib.training.config.dataset.layout import Layout
    from tadrib.training.data.formats.row_reader import RowReader
    from tadrib.training.data.look.visible import visible
    from tadrib.training.data.quality.cleaning import REASONS, clean

    given = [*against, *filter(None, [settings.config.eval_dataset_path])]
    reader = RowReader(settings.method, Layout.of(settings.config))
    report = clean(file, reader, output, given, near=near)
    if as_json:
        print(json.dumps(report.to_dict(), ensure_ascii=True))
        return
    title = f"{visible(file)}: {report.kept:,} of {report.rows:,} rows are in {visible(str(output))}"
    table = Table()
    table.add_column("left out", justify="right")
    table.add_column("because")
    table.add_column(f"{report.unit}s")
    for name, rows in report.left_out.items():
        listed = ", ".join(
            f"{row}" if other is None else f"{row} (as {other})" for row, other in rows[:_SHOWN]
        )
        places = f"{listed}, …" if len(rows) > _SHOWN else listed
        table.add_row(f"{len(rows):,}", Text(f"{name}: {REASONS[name]}"), Text(places))
    console = Console(highlight=False)
    console.print(Text(title), soft_wrap=True)
    console.print(table)
    console.print(Text(f"All of them are in {output}.report.json."), soft_wrap=True)
