# SPDX-License-Identifier: Apache-2.0
"""Commands about training data: `tadrib data check`, `show` and `clean`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tadrib.ray_jobs.cli.arguments import AsJson

data_app = typer.Typer(help="Look at training data, and clean them.", no_args_is_help=True)

File = Annotated[str, typer.Argument(help="Dataset: a file, directory, Hub id or URL.", show_default=False)]
FileOfSpec = Annotated[
    str | None,
    typer.Argument(
        help="Dataset: a file, directory, Hub id or URL; without it, those of --spec.", show_default=False
    ),
]
Method = Annotated[str | None, typer.Option(help="sft, dpo, kto, ipo, cpo or simpo.")]
Settings = Annotated[Path | None, typer.Option(help="Spec that gives method, lengths, template and model.")]
Model = Annotated[str | None, typer.Option(help="Model whose tokenizer counts tokens.")]


@data_app.command()
def check(
    file: FileOfSpec = None,
    method: Method = None,
    spec: Settings = None,
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Report on a dataset: bad rows, lengths, duplicates, truncation, tokens per word.

    Exits with 2 when training would refuse it.
    """
    from tadrib.ray_jobs.cli.data_check import data_report, print_report

    report = data_report(file, method=method, spec_path=spec, model=model)
    print_report(report, as_json=as_json)
    if not report.ok:
        raise typer.Exit(2)


@data_app.command()
def show(
    file: FileOfSpec = None,
    method: Method = None,
    row: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="Line or row to show, as messages about the data number them; may be repeated."
        ),
    ] = None,
    first: Annotated[
        int, typer.Option(min=1, help="How many rows to show from the start, without --row.")
    ] = 3,
    spec: Settings = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Show rows as the model sees them: template, tokens, what is trained on, and where the answer begins."""
    from tadrib.ray_jobs.cli.data_show import show_rows

    show_rows(file, row or [], first=first, method=method, spec_path=spec, model=model, as_json=as_json)


@data_app.command()
def clean(
    file: File,
    output: Annotated[Path, typer.Argument(help="JSON Lines file to write.", show_default=False)],
    method: Method = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Evaluation data, in any form; rows with their text are left out. May be repeated."
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Keep rows that only nearly repeat another.")
    ] = False,
    spec: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Copy a dataset without rows that repeat an earlier one or stand in evaluation data; report what is left out."""
    from tadrib.ray_jobs.cli.data_clean import clean_data

    clean_data(
        file, output, against=against or [], near=not exact, method=method, spec_path=spec, as_json=as_json
    )
