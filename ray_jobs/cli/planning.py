# SPDX-License-Identifier: Apache-2.0
"""`tadrib plan`: the memory that a run will take, before anything starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tadrib.training.config import JobSpec, load_spec
from tadrib.training.config.problems.violations import show
from tadrib.training.plan.parts import GIB
from tadrib.training.plan.plan import Plan, as_mapping, gib, plan_of
from tadrib.training.plan.shape import read_shape


def plan_spec(path: Path, overrides: Sequence[str], *, gpu_memory: float, as_json: bool) -> bool:
    """Print the plan; whether the run fits. Raises SpecError for a spec that is refused or a model it cannot read."""
    spec = load_spec(path, overrides)
    plan = plan_of(spec, read_shape(spec.config), _room(spec, gpu_memory))
    if as_json:
        print(json.dumps(as_mapping(plan), ensure_ascii=False))
    else:
        _print(plan, on_gpu=spec.resources.gpus_per_worker > 0)
    return plan.fits


def _room(spec: JobSpec, gpu_memory: float) -> float | None:
    """The memory of a worker's GPU; on a CPU what the spec asks for, if anything."""
    return gpu_memory * GIB if spec.resources.gpus_per_worker else spec.resources.memory_bytes


def _print(plan: Plan, *, on_gpu: bool) -> None:
    console = Console(highlight=False)
    table = Table("part", "memory", "of", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for part in plan.parts:
        table.add_row(part.name, gib(part.bytes), f"{part.why}{' (in main memory)' if part.host else ''}")
    table.add_row("together", gib(plan.bytes), f"on each of {plan.workers} worker{'s'[: plan.workers > 1]}")
    console.print(table)
    where = "a GPU" if on_gpu else "a worker (resources.memory_per_worker)"
    if plan.room is None:
        console.print(
            "Set resources.memory_per_worker to at least as much, and what Python and libraries take."
        )
    elif plan.fits:
        console.print(Text(f"✓ fits {where} of {gib(plan.room)}", style="green"))
    else:
        console.print(Text(f"✗ does not fit {where} of {gib(plan.room)}", style="red"))
        for number, change in enumerate(plan.changes, start=1):
            keys = " ".join(f"{key}={show(value)}" for key, value in change.keys.items())
            console.print(Text(f"  {number}. {keys}"), soft_wrap=True)
            console.print(
                Text(f"     {gib(change.bytes)}; costs: {change.cost or 'nothing'}"), soft_wrap=True
            )
