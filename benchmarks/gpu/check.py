# SPDX-License-Identifier: Apache-2.0
"""Check: whether this machine's GPU trains as it should, and how fast, in eight minutes.

It needs `training/` alone, and no Ray. Each part is a process with a time limit of its own; whatever it finds is at
once a line of the results, so that a machine that is taken away loses nothing. ``--dry`` runs the same on a CPU, with
tiny models: its figures say nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.processes import end_of, kill

Record = dict[str, Any]
SECONDS = 480.0
_PATIENCE = (
    60.0  # a dry run shows that the parts work, and its limits, that many times as long, only end what hangs
)


@dataclass(frozen=True, slots=True)
class Part:
    """A function that takes `benchmarks.gpu.sizes.Sizes` and yields records, and the seconds it may take."""

    function: str
    seconds: float
    shows: str


PARTS = {
    "machine": Part("benchmarks.gpu.paths:machine", 40, "what is measured, and the tests that need a GPU"),
    "paths": Part(
        "benchmarks.gpu.paths:paths", 130, "the scoring path, speed and memory of each kind of training"
    ),
    "sides": Part("benchmarks.gpu.sides:sides", 190, "the same rows on stock TRL"),
    "head": Part("benchmarks.gpu.head:chunks", 45, "tokens whose logits are computed at once"),
    "demo": Part("benchmarks.gpu.demo:demo", 75, "a minute of the demo"),
}


def main(
    results: Annotated[Path, typer.Option(help="File that gets one JSON object a line.")] = Path("gpu.jsonl"),
    dry: Annotated[bool, typer.Option("--dry", help="On the CPU, with tiny models.")] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"Parts to run: {', '.join(PARTS)}.")] = None,
    part: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    if part is not None:
        _run_here(part, results, dry)
        return
    _require_gpu(dry)
    results.write_text("")
    patience = _PATIENCE if dry else 1.0
    deadline = time.monotonic() + patience * SECONDS
    chosen = {name: each for name, each in PARTS.items() if not only or name in only}
    complete = [
        _run(name, min(patience * each.seconds, deadline - time.monotonic()), results, dry)
        for name, each in chosen.items()
    ]
    records = [json.loads(line) for line in results.read_text().splitlines()]
    _print(records)
    if not all(complete) or any("error" in record for record in records):
        raise typer.Exit(1)


def _require_gpu(dry: bool) -> None:
    if dry:
        return
    import torch

    if not torch.cuda.is_available():
        raise typer.BadParameter("this machine has no CUDA device; --dry runs on the CPU.")


def _run(name: str, seconds: float, results: Path, dry: bool) -> bool:
    """One part in a process of its own; whether it came to its end. How it ended is a line of the results too."""
    print(f"{name}: {PARTS[name].shows} (at most {max(0.0, seconds):.0f} s)", flush=True)
    log = results.with_suffix(f".{name}.log")
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--results", str(results)]
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    began = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *(["--dry"] if dry else [])],
            env={**os.environ, **offline},
            stdout=output,
            stderr=output,
        )
        try:
            code = process.wait(timeout=max(0.0, seconds))
            ending = {} if code == 0 else {"error": f"ended with {code}: {end_of(log)}"}
        except subprocess.TimeoutExpired:
            ending = {"error": f"had not ended after {seconds:g} s"}
        finally:
            kill(process)
    _write(results, {"part": name, "case": "", "seconds": round(time.monotonic() - began, 1), **ending})
    return not ending


def _run_here(name: str, results: Path, dry: bool) -> None:
    """What the process of a part does."""
    from benchmarks.gpu.sizes import DRY, GPU

    module, _, function = PARTS[name].function.partition(":")
    records: Iterator[Record] = getattr(importlib.import_module(module), function)(DRY if dry else GPU)
    for record in records:
        _write(results, {"part": name, **record})


def _write(results: Path, record: Record) -> None:
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _print(records: list[Record]) -> None:
    table = Table(
        title=f"GPU check, {next((r['machine'] for r in records if 'machine' in r), 'unknown machine')}"
    )
    for column in ("part", "case", "found"):
        table.add_column(column)
    for record in records:
        found = {key: value for key, value in record.items() if key not in ("part", "case", "machine")}
        table.add_row(
            record["part"], record["case"], ", ".join(f"{key} {_short(v)}" for key, v in found.items())
        )
    Console(width=150).print(table)


def _short(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)[:300]
