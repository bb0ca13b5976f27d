# SPDX-License-Identifier: Apache-2.0
"""Display of a status on a terminal: a sentence with a few lines of facts, or a table of several runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tadrib.ray_jobs.console import decimal
from tadrib.ray_jobs.runs.status import State, Status, first_problem

_MARKS: dict[State, tuple[str, str]] = {
    "succeeded": ("✓", "bold green"),
    "failed": ("✗", "bold red"),
    "died": ("✗", "bold red"),
    "missing": ("✗", "bold red"),
    "stopped": ("■", "bold yellow"),
}
_GOES_ON = ("…", "bold yellow")


def print_status(status: Status) -> None:
    console = Console(highlight=False)
    console.print(Text.assemble(_mark(status), " ", (status.sentence, "bold")), soft_wrap=True)
    rows = list(facts(status))
    width = max((len(label) for label, _ in rows), default=0)
    for label, value in rows:
        console.print(Text.assemble((f"  {label:<{width}}  ", "dim"), value), soft_wrap=True)


def print_list(statuses: Sequence[Status]) -> None:
    """Print a table on a terminal; elsewhere one line a run: mark, sentence, which begins with the name, and the rest
    in brackets."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(_table(statuses))
        return
    for status in statuses:
        rest = ", ".join(part for part in (_what(status), _began(status), _last_metric(status)) if part)
        end = f" [{rest}]" if rest else ""
        console.print(Text.assemble(_mark(status), " ", status.sentence, (end, "dim")), soft_wrap=True)


def facts(status: Status) -> Iterator[tuple[str, str]]:
    """The lines below the sentence, each a label and a value."""
    if status.action:
        yield "next", status.action
    yield from status.facts
    if status.state != "missing" and status.run_directory:
        yield from _of_directory(status)
    yield from (("warning", warning) for warning in status.warnings)


def _of_directory(status: Status) -> Iterator[tuple[str, str]]:
    if status.start:
        yield "started from", status.start
    if status.loss is not None:
        yield "training loss", decimal(status.loss)
    if status.tokens_per_second is not None:
        yield "speed", f"{status.tokens_per_second:,.0f} tokens/s"
    if status.state != "waiting":
        yield "last checkpoint", status.checkpoint or "none yet"
    if status.state == "running" and status.host:
        yield "driver", f"on {status.host}, last heartbeat {status.seconds_silent or 0:.0f} s ago"
    if status.state in ("failed", "died") and status.log:
        yield "log", status.log
    if status.action:
        pass
    elif status.state in ("stopped", "failed") and status.resume:
        yield "continue with", status.resume
    elif status.state == "died":
        yield "continue with", "the command that started it"
    yield "run directory", status.run_directory


def _table(statuses: Sequence[Status]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("")
    for heading in ("run", "state", "method", "model", "started", "steps", "last metric"):
        table.add_column(heading, overflow="fold")
    table.add_column("", overflow="fold", ratio=1)
    for status in statuses:
        cells = (
            status.name,
            status.state,
            status.method or "",
            status.start or "",
            _time(status),
            _steps(status),
            _last_metric(status),
            problem(status),
        )
        table.add_row(Text(*_mark(status)), *(Text(cell) for cell in cells))
    return table


def problem(status: Status) -> str:
    """The first problem of a failed run, or what a pending run waits for; else empty."""
    if status.state in ("failed", "died"):
        return first_problem(status.error or status.sentence)
    return status.words.removeprefix(f"{status.name} ") if status.state in ("queued", "pending") else ""


def _mark(status: Status) -> tuple[str, str]:
    return _MARKS.get(status.state, _GOES_ON)


def _what(status: Status) -> str:
    return " of ".join(part for part in (status.method, status.start) if part)


def _began(status: Status) -> str:
    began = _time(status)
    return f"started {began}" if began else ""


def _time(status: Status) -> str:
    return "" if status.started is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(status.started))


def _steps(status: Status) -> str:
    if not status.steps_done:
        return ""
    return f"{status.steps_done}/{status.steps_planned}" if status.steps_planned else str(status.steps_done)


def _last_metric(status: Status) -> str:
    """The last logged loss, on held-out rows if there are any."""
    if status.eval_loss is not None:
        return f"eval loss {decimal(status.eval_loss)}"
    return "" if status.loss is None else f"loss {decimal(status.loss)}"
