# SPDX-License-Identifier: Apache-2.0
"""Kubernetes status on a terminal: a sentence, the next action, and a few lines of facts."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from tadrib.ray_jobs.kube.status.kube_status import KubeStatus
from tadrib.ray_jobs.runs.status_text import facts

_MARKS = {"succeeded": ("✓", "bold green"), "failed": ("✗", "bold red"), "stopped": ("■", "bold yellow")}


def print_status(told: KubeStatus) -> None:
    console = Console(highlight=False)
    mark, style = _MARKS.get(told.state, ("…", "bold yellow"))
    console.print(Text.assemble((f"{mark} ", style), (told.sentence, "bold")), soft_wrap=True)
    rows = [("next", told.action)] if told.action else []
    rows += told.facts
    if told.progress is not None:
        rows += [each for each in facts(told.progress) if each[0] != "continue with"]
    width = max((len(label) for label, _ in rows), default=0)
    for label, value in rows:
        console.print(Text.assemble((f"  {label:<{width}}  ", "dim"), value), soft_wrap=True)


def print_list(statuses: Iterable[KubeStatus]) -> None:
    """One line a run: its mark, and its sentence, which begins with its name."""
    console = Console(highlight=False)
    for told in statuses:
        mark, style = _MARKS.get(told.state, ("…", "bold yellow"))
        console.print(Text.assemble((f"{mark} ", style), told.sentence), soft_wrap=True)
