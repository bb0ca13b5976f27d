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

Any causal language model in `transformers` can be trained, even if it is not in the table below. Before the
first step, a run scores some of its rows on three scoring paths and uses the fastest one that reproduces the
log-probs of `transformers` itself. If none is right, the run is refused with the reason.

| scoring path | what it computes | cost |
|---|---|---|
| `packed` | rows of all lengths one after another, a prompt once for all its answers | the fastest |
| `dense` | the same rows under a mask over all pairs of tokens | attention grows with the square of a packed row |
| `separate` | every sequence on its own, padded to the longest of a micro-batch | padding; the prompt once per answer |

The table below shows the path chosen for each family. It was measured with SFT and DPO on tiny models with
random weights, in float32 and bfloat16, on rows shorter and longer than the models' windows of {WINDOW} tokens.
Every result was compared with `transformers`' own forward of each sequence alone. The errors are the largest
found. In float32 they are those of log-probs (mean per token, in nats) and of gradients (relative to their
norm). In bfloat16 they are multiples of the error of `transformers`' own bfloat16 forward; at most {FACTOR} is
allowed. `make test-architectures` measures them again and writes this page; `python -m tests.architectures
--only gemma` measures some. Multimodal models are trained on text.

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
        reason = f"{FAMILIES[name].refused} rotates positions by the longest row of a batch"
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
