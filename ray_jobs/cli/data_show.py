# SPDX-License-Identifier: Apache-2.0
"""`tadrib data show`: rows as the model sees them, for the terminal or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tadrib.ray_jobs.cli.data_settings import data_settings


def show_rows(
    file: str | None,
    numbers: Sequence[int],
    *,
    first: int,
    method: str | None,
    spec_path: Path | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Print the rows of ``file``, else of each dataset of the spec, with the given ``numbers``, or the ``first`` ones.
    Without a model there are neither template nor tokens.

    Raises SpecError for a method that is missing or unknown, DataError for a dataset or a row that is not there.
    """
    settings = data_settings(method=method, spec_path=spec_path, model=model)
    from tadrib.training.data.look.row_view import LEGEND, render_row
    from tadrib.training.data.look.seen_row import seen_rows

    console = Console(highlight=False)
    if not as_json:
        console.print(Text(LEGEND, style="dim"))
        if settings.tokenizer is None:
            console.print(Text("Without --model or --spec: the texts alone, no template and no tokens."))
    for each in settings.each(file):
        name, config = each.config.dataset_path, each.config
        for row in seen_rows(name, each.method, config, each.tokenizer, numbers, first):
            if as_json:
                print(json.dumps(row.to_dict(), ensure_ascii=True))
            else:
                console.print(render_row(row, console.width), crop=False)
