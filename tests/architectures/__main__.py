# SPDX-License-Identifier: Apache-2.0
"""Tries every family in every way and writes docs/models.md: ``python -m tests.architectures``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import get_args

import torch
from rich.progress import track
from transformers.utils import logging

from tests.architectures.families import FAMILIES, WINDOW
from tests.architectures.measure import FACTOR, Cell, First, Method, measure, rows

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
_DTYPES = (torch.float32, torch.bfloat16)
_HEADING = f"""# Models

What training computes for each family, beside transformers' own forward of every sequence alone; written by
`make test-architectures` from tiny models of random weights, in float32 and bfloat16, by SFT and DPO, on rows that are
shorter and longer than the models' windows of {WINDOW} tokens. `packed` is the fast path. The others are slower,
and a run says why it takes one. Errors are the largest found: mean |log-prob error| in float32, and the error in
bfloat16 as a multiple of that of transformers' own bfloat16 forward ({FACTOR} at most), of log-probs and of gradients.

| family | `model_type` | path | float32 | bfloat16 | bfloat16, gradient | why not packed |
|---|---|---|---|---|---|---|
"""


def main() -> int:
    """Exit code 1 when a family is neither right nor refused for the reason that it names."""
    logging.set_verbosity_error()
    found = {name: list(_cells(name)) for name in track(FAMILIES, "families")}
    PAGE.write_text(_HEADING + "".join(map(_line, found, found.values())), encoding="utf-8")
    wrong = [name for name, cells in found.items() if not all(_is_as_promised(name, c) for c in cells)]
    print(f"{len(found) - len(wrong)} passed, {len(wrong)} failed", *wrong, sep="\n  ")
    return bool(wrong)


def _cells(name: str) -> Iterator[Cell]:
    for method, first, dtype in product(get_args(Method), get_args(First), _DTYPES):
        yield measure(name, dtype, rows(method, first))


def _is_as_promised(name: str, cell: Cell) -> bool:
    reason = FAMILIES[name].refused
    return reason in cell.refused if reason else cell.is_right and not cell.refused


def _line(name: str, cells: list[Cell]) -> str:
    kind = f"| {name} | `{FAMILIES[name].kind}` "
    if FAMILIES[name].refused:
        return f"{kind}| packed; longer rows are refused | | | | {FAMILIES[name].refused} depends on the batch |\n"
    exact, rounded = cells[::2], cells[1::2]
    ratio = max(c.error / c.plain_error for c in rounded)
    gradient_ratio = max(c.gradient_error / c.plain_gradient_error for c in rounded)
    paths = " or ".join(sorted({c.path for c in cells}))
    why = next((c.why for c in cells if c.path != "packed"), "")
    why = why or ("" if paths == "packed" else "state is carried from token to token")
    error = max(c.error for c in exact)
    return f"{kind}| {paths} | {error:.0e} | {ratio:.2f} | {gradient_ratio:.2f} | {why.replace('|', '/')[:160]} |\n"


if __name__ == "__main__":
    sys.exit(main())
