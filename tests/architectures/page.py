# SPDX-License-Identifier: Apache-2.0
"""docs/models.md: a line for each family, kept until the family is tried again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers

from tests.architectures.families import FAMILIES, WINDOW
from tests.architectures.measure import FACTOR, Cell

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
_HEADING = f"""# Models

A causal language model that `transformers` has need not be in the table below to be trained: before the first step a
run scores rows of its own on three paths and takes the fastest whose log-probs are those of `transformers` itself.
Where none is right, the run is refused, with the reason.

| path | what it computes | cost |
|---|---|---|
| `packed` | rows of all lengths one after the other, a prompt once for all its answers | the fastest |
| `dense` | the same rows under a mask of all pairs of tokens | attention grows with the square of a packed row |
| `separate` | every sequence alone, padded to the longest of a micro-batch | padding; a prompt for each answer |

What each family was found to take is below, measured on tiny models of random weights in float32 and bfloat16, by SFT
and DPO, on rows shorter and longer than the models' windows of {WINDOW} tokens, beside `transformers`' own forward of
every sequence alone. Errors are the largest found: of log-probs (mean per token, in nats) and of gradients (relative to
their norm) in float32; and in bfloat16 as a multiple of the error that `transformers`' own bfloat16 forward has,
{FACTOR} at most. `make test-architectures` measures them again and writes this page;
`python -m tests.architectures --only gemma` some of them. Multimodal models are trained on text.

"""
_COLUMNS = (
    "family",
    "`model_type`",
    "path",
    "log-probs",
    "gradient",
    "log-probs, bfloat16",
    "gradient, bfloat16",
    "measured with",
    "why not packed",
)


def lines(page: Path = PAGE) -> dict[str, str]:
    """The page's line of each family that has one."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    rows = [row for row in text.splitlines(keepends=True) if row.count("|") > 5]
    return {name: row for row in rows if (name := row.split("|")[1].strip()) in FAMILIES}


def write(found: Mapping[str, str]) -> None:
    """The page with these lines, in the order of `FAMILIES`."""
    head = _row(_COLUMNS) + _row(["---"] * len(_COLUMNS))
    rows = [found[name] for name in FAMILIES if name in found]
    PAGE.write_text("".join([_HEADING, head, *rows]), encoding="utf-8")


def line(name: str, cells: Sequence[Cell]) -> str:
    """One row of the table from the cells of a family, float32 and bfloat16 by turns."""
    measured = (
        f"{datetime.now(UTC).date()}, transformers {transformers.__version__}, torch {torch.__version__}"
    )
    return _row([name, f"`{FAMILIES[name].kind}`", *_found(name, cells, measured)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _found(name: str, cells: Sequence[Cell], measured: str) -> list[str]:
    if FAMILIES[name].refused:
        reason = f"{FAMILIES[name].refused} turns positions by the longest row of a batch"
        return ["`packed` up to the limit; longer rows are refused", "", "", "", "", measured, reason]
    exact, rounded = cells[::2], cells[1::2]
    return [
        " or ".join(f"`{path}`" for path in sorted({cell.path for cell in cells})),
        f"{max(cell.error for cell in exact):.0e}",
        f"{max(cell.gradient_error for cell in exact):.0e}",
        f"{max(cell.error / cell.plain_error for cell in rounded):.2f}",
        f"{max(cell.gradient_error / cell.plain_gradient_error for cell in rounded):.2f}",
        measured,
        _why(cells),
    ]


def _why(cells: Sequence[Cell]) -> str:
    slower = [cell for cell in cells if cell.path != "packed"]
    if not slower:
        return ""
    why = next((cell.why for cell in slower if cell.why), "carries state from token to token")
    return why.replace("|", "/").replace("\n", " ")[:160]
