# SPDX-License-Identifier: Apache-2.0
"""`tadrib data check`: the report on a dataset, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.config import METHODS, CommonConfig, load_spec
from training.errors import Problem, SpecError, nearest

if TYPE_CHECKING:
    from training.data.report import DataReport


def data_report(file: str, *, method: str | None, spec_path: Path | None, model: str | None) -> DataReport:
    """The report on ``file``, with method and settings of the spec, or the defaults of ``method``.

    Tokens are counted by the tokenizer of ``model`` or of the spec's model; without either, lengths are in
    characters.

    Raises SpecError for a method that is missing or unknown, DataError when nothing can be read.
    """
    config: CommonConfig
    if spec_path is not None:
        spec = load_spec(spec_path, [f"method={method}"] if method else [])
        method, config = spec.method, spec.config
    else:
        config = METHODS[_known(method)]()
    if model is not None:
        config.model_name = model
    from training.data.report import check_data

    return check_data(file, method or "", config, _tokenizer(config) if model or spec_path else None)


def print_report(report: DataReport, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.to_dict(), ensure_ascii=False, indent=2))
        return
    console = Console(highlight=False)
    mark = ("✓", "bold green") if report.ok else ("✗", "bold red")
    verdict = "can be trained on" if report.ok else "cannot be trained on"
    console.print(Text.assemble(mark, f" {report.dataset} {verdict} with {report.method}"), soft_wrap=True)
    for refusal in report.refusals:
        console.print(Text(f"  {refusal}", style="red"), soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for label, value in _rows(report):
        table.add_row(f"  {label}", value)
    console.print(table)
    if report.lengths:
        console.print(_lengths(report))
    for warning in report.warnings:
        console.print(Text(f"! {warning}", style="yellow"), soft_wrap=True)


def _known(method: str | None) -> str:
    if method in METHODS:
        return method
    names = ", ".join(METHODS)
    if method is None:
        problem = Problem(
            "--method", "is missing, and there is no --spec that has it.", f"Use one of {names}."
        )
    else:
        close = nearest(method, METHODS)
        action = f"Did you mean {close}?" if close else f"Use one of {names}."
        problem = Problem("--method", f"{method} is not a method.", action)
    raise SpecError("the data cannot be checked", [problem])


def _tokenizer(config: CommonConfig):
    from training.models import load_tokenizer

    return load_tokenizer(config)


def _rows(report: DataReport) -> Iterator[tuple[str, str]]:
    yield "rows", f"{report.rows:,}"
    if report.bad_rows:
        yield "bad rows", f"{report.bad_rows:,}"
    if report.unknown_columns:
        yield "unused columns", ", ".join(report.unknown_columns)
    if report.labels:
        yield "labels", ", ".join(f"{count:,} {label}" for label, count in report.labels.items())
    yield "duplicates", f"{report.duplicate_rows:,} rows, {report.duplicate_prompts:,} prompts"
    yield "answers per row", f"{report.answers_per_row:.2f}"
    yield "Arabic letters", f"{report.arabic_share:.0%}"
    if report.tokens_per_word is not None:
        yield "tokens per word", f"{report.tokens_per_word:.2f}"
    if report.limits:
        limits = ", ".join(f"{key} {limit:,}" for key, limit in report.limits.items())
        yield "over the limit", f"{report.over_long:,} rows ({report.truncation_rate:.1%}) of {limits}"
    if report.boundary_merges:
        yield (
            "boundary merges",
            f"{report.boundary_merges:,} rows where prompt and answer would tokenize together",
        )


def _lengths(report: DataReport) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column(f"  {report.length_unit}", style="dim")
    for heading in ("median", "90%", "99%", "longest"):
        table.add_column(heading, justify="right")
    for part, lengths in report.lengths.items():
        numbers = (lengths.p50, lengths.p90, lengths.p99, lengths.max)
        table.add_row(f"  {part}", *(f"{number:,}" for number in numbers))
    return table
