# SPDX-License-Identifier: Apache-2.0
"""Summary: the table that a run ends with."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from tadrib.ray_jobs.console import decimal, duration
from tadrib.training.config.locations import is_url
from tadrib.training.errors import Problem
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.names import FINAL, REPORT
from tadrib.training.run.result import Result

HELD_OUT = {
    "eval_loss": "held-out loss",
    "eval_perplexity": "held-out perplexity",
    "eval_rewards/accuracies": "preference accuracy",
    "eval_rewards/margins": "reward margin",
}


def print_summary(console: Console, result: Result, run: RunDirectory) -> None:
    """Print status, steps, metrics before and after, speed, time, and where everything is."""
    console.print(Text.assemble(("✓ ", "bold green"), (f"{result.name} {result.status}", "bold")))
    rows = _rows(result, run)
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        console.print(Text.assemble((f"  {label:<{width}}  ", "dim"), value), soft_wrap=True)
    for warning in result.warnings:
        console.print(Text(f"  ! {warning}", style="yellow"), soft_wrap=True)


def print_finished(result: Result, run: RunDirectory, changed: Sequence[Problem] = ()) -> None:
    """Print the summary of a run that had already finished when it was launched again.

    ``changed``: datasets whose content has changed since.
    """
    console = Console(highlight=False)
    print_summary(console, result, run)
    for problem in changed:
        console.print(Text(f"  ! {problem.where}: {problem.message}", style="yellow"), soft_wrap=True)
    again = "It has finished, so nothing was trained. To start over beside it, add --fresh or another name=…."
    console.print(Text(f"  {again}"), soft_wrap=True)


def _rows(result: Result, run: RunDirectory) -> list[tuple[str, str]]:
    rows = [("steps", f"{result.steps_done} of {result.steps_planned}")]
    if result.start:
        rows.append(("started from", result.start))
    if "loss" in result.metrics:
        rows.append(("training loss", decimal(result.metrics["loss"])))
    keys = list(HELD_OUT.items())
    for source in result.sources:
        keys += [
            (key.replace("eval_", f"eval_{source.name}_"), f"{label}: {source.name}")
            for key, label in HELD_OUT.items()
        ]
    rows += _evaluation(result, keys)
    if result.path:
        rows.append(("attention", result.path))
    if "tokens_per_second" in result.metrics:
        rows.append(("speed", f"{result.metrics['tokens_per_second']:,.0f} tokens/s"))
    rows.append(("time", duration(result.wall_seconds)))
    rows.append(("model", shown(run.files.place(FINAL))))
    rows.append(("report", shown(run.files.place(REPORT))))
    rows.append(("run directory", shown(run)))
    return rows


def _evaluation(result: Result, keys: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The metrics on held-out rows by their labels, before and after."""
    before, after = result.evaluation_before or {}, result.evaluation or {}
    return [(label, _change(before.get(key), after[key])) for key, label in keys if key in after]


def _change(before: float | None, after: float) -> str:
    return f"{_number(before)} → {_number(after)}" if before is not None else _number(after)


def _number(value: float) -> str:
    return f"{value:,.1f}" if 10 <= abs(value) < 1e6 else decimal(value)


def shown(path: object) -> str:
    """A path under the current directory relative to it; any other path or URL as it is."""
    if is_url(str(path)):
        return str(path)
    relative = os.path.relpath(str(path))
    return str(path) if relative.startswith("..") else relative
