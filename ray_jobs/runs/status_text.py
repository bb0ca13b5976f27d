# SPDX-License-Identifier: Apache-2.0
"""Status in words: one sentence on how a run is doing, and a few lines of facts below it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from tadrib.ray_jobs.console import decimal, duration
from tadrib.ray_jobs.runs.status import RunStatus

if TYPE_CHECKING:
    pass

_MARKS = {"succeeded": ("✓", "bold green"), "failed": ("✗", "bold red"), "died": ("✗", "bold red")}


def print_status(status: RunStatus) -> None:
    console = Console(highlight=False)
    mark, style = _MARKS.get(status.state, ("■" if status.state == "stopped" else "…", "bold yellow"))
    console.print(Text.assemble((f"{mark} ", style), (sentence(status), "bold")), soft_wrap=True)
    rows = list(facts(status))
    width = max((len(label) for label, _ in rows), default=0)
    for label, value in rows:
        console.print(Text.assemble((f"  {label:<{width}}  ", "dim"), value), soft_wrap=True)


def sentence(status: RunStatus) -> str:
    """What a person would say: state, how far, and why it ended or when it will."""
    name = status.name
    match status.state:
        case "waiting":
            return f"{name} has been submitted and is starting"
        case "running":
            left = f", about {duration(status.seconds_left)} left" if status.seconds_left is not None else ""
            return f"{name} is running: {_steps(status)}{left}"
        case "succeeded":
            took = f" in {duration(status.wall_seconds)}" if status.wall_seconds else ""
            return f"{name} succeeded: {_steps(status)}{took}"
        case "stopped":
            return f"{name} was stopped: {_steps(status)}"
        case "failed":
            at = f"at {_steps(status)}" if status.steps_done else "before its first step"
            return f"{name} failed {at}: {_first_line(status.error)}"
        case "died" if status.error:
            return f"{name} has ended: {_steps(status)}; {status.error}"
        case "died":
            return (
                f"{name} ended without a word: {_steps(status)}, no result and no driver{_last_seen(status)}"
            )
        case _:
            meant = f"; did you mean {status.nearest}?" if status.nearest else ""
            return f"there is no run in {status.run_directory}{meant}"


def facts(status: RunStatus) -> Iterator[tuple[str, str]]:
    if status.state == "missing":
        return
    if status.start:
        yield "started from", status.start
    if status.loss is not None:
        yield "training loss", decimal(status.loss)
    if status.tokens_per_second is not None:
        yield "speed", f"{status.tokens_per_second:,.0f} tokens/s"
    if status.state != "waiting":
        yield "last checkpoint", status.checkpoint or "none yet"
    if status.state == "running" and status.host:
        yield "driver", f"on {status.host}, heard of {status.seconds_silent or 0:.0f} s ago"
    if status.state in ("failed", "died") and status.log:
        yield "log", status.log
    if status.state in ("stopped", "failed") and status.resume:
        yield "continue with", status.resume
    if status.state == "died":
        yield "continue with", "the command that started it"
    yield "run directory", status.run_directory
    yield from (("warning", warning) for warning in status.warnings)


def _steps(status: RunStatus) -> str:
    planned = f" of {status.steps_planned}" if status.steps_planned else ""
    return f"step {status.steps_done}{planned}" if status.steps_done else "before its first step"


def _last_seen(status: RunStatus) -> str:
    if status.seconds_silent is None:
        return ""
    return f"; {status.host} was last heard of {duration(status.seconds_silent)} ago"


def _first_line(text: str | None) -> str:
    return (text or "no reason was recorded").strip().splitlines()[0]
