# SPDX-License-Identifier: Apache-2.0
"""Tries families in every way and writes docs/models.md: ``python -m tests.architectures [--only TEXT]``.

``--only`` tries the families whose name holds the text, and keeps the lines of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Annotated, get_args

import torch
import typer
from rich.progress import track
from transformers.utils import logging

from tests.architectures import page
from tests.architectures.families import FAMILIES
from tests.architectures.measure import Cell, First, Method, measure, rows

_DTYPES = (torch.float32, torch.bfloat16)


def main(
    only: Annotated[str, typer.Option(help="Try the families whose name holds this text.")] = "",
) -> None:
    """Exit code 1 when a family is neither right nor refused for the reason that it names."""
    logging.set_verbosity_error()
    names = [name for name in FAMILIES if only.lower() in name.lower()]
    wrong = []
    for name in track(names, "families"):
        cells = list(_cells(name))
        page.write({**page.lines(), name: page.line(name, cells)})
        if not all(_is_as_promised(name, cell) for cell in cells):
            wrong.append(name)
            print(name, *cells, sep="\n  ")
    print(f"{len(names) - len(wrong)} passed, {len(wrong)} failed", *wrong, sep="\n  ")
    raise typer.Exit(bool(wrong))


def _cells(name: str) -> Iterator[Cell]:
    for method, first, dtype in product(get_args(Method), get_args(First), _DTYPES):
        yield measure(name, dtype, rows(method, first))


def _is_as_promised(name: str, cell: Cell) -> bool:
    reason = FAMILIES[name].refused
    return reason in cell.refused if reason else cell.is_right and not cell.refused


if __name__ == "__main__":
    typer.run(main)
