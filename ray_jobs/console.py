# SPDX-License-Identifier: Apache-2.0
"""Console: prints errors, notes and validated specs, and formats numbers and durations."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tadrib.training.config import Resolved
from tadrib.training.errors import StoppedError, TadribError

_ORIGIN_STYLES = {"given": "bold", "default": "dim", "adjusted": "yellow"}


def print_error(error: TadribError) -> None:
    """Print an error on standard error, with a mark before its first line."""
    stopped = isinstance(error, StoppedError)
    first, *rest = str(error).splitlines()
    console = Console(stderr=True, highlight=False)
    mark, style = ("■", "bold yellow") if stopped else ("✗", "bold red")
    console.print(Text(f"{mark} {first}", style=style), soft_wrap=True)
    for line in rest:
        console.print(Text(line), soft_wrap=True)


def print_text(text: str) -> None:
    """Print a piece of a command's output unchanged, and flush it."""
    sys.stdout.write(text)
    sys.stdout.flush()


def print_note(text: str) -> None:
    """Print a note on standard error, beside a command's output."""
    Console(stderr=True, highlight=False).print(Text(text, style="yellow"), soft_wrap=True)


def print_spec(path: Path, resolved: Resolved, *, show: bool) -> None:
    """Print one line that the spec is valid and what it runs, and with ``show`` the values of all keys."""
    console = Console(highlight=False)
    spec = resolved.spec
    workers = f"{spec.world_size} worker{'s' if spec.world_size > 1 else ''}"
    line = f" {path}: {spec.method} of {spec.config.model_name} with {workers}, into {spec.run_dir}"
    console.print(Text.assemble(("✓", "bold green"), line), soft_wrap=True)
    if show:
        console.print(_table(resolved))
        return
    for notice in resolved.notices:
        console.print(Text(f"  {notice}", style="dim"), soft_wrap=True)


def _table(resolved: Resolved) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for heading in ("key", "value", "origin", "because"):
        table.add_column(heading, overflow="fold")
    for row in resolved.rows:
        style = _ORIGIN_STYLES[row.origin]
        table.add_row(
            Text(row.key), Text(_value(row.value), style=style), Text(row.origin, style=style), Text(row.note)
        )
    return table


def _value(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def duration(seconds: float) -> str:
    """``0:07``, ``12:30`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def decimal(value: float) -> str:
    """Three decimals, or three significant digits from a million on: ``2.719``, ``1e+308``."""
    return f"{value:,.3f}" if abs(value) < 1e6 else f"{value:.3g}"
