# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.overhead`: what a run costs beyond its training.

- step time of `tadrib train` against plain torchrun with the same trainer, spec and workers: the median of paired runs;
- how long training stands still for a checkpoint every 50 steps, as a share of the time of those steps, with the run
  directory on a disk and, uploading in the background, in an S3-protocol store;
- seconds from the command to the first step, beside torchrun's with the same spec, and what ours go to.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.harness import hardware
from benchmarks.sides import ours, torchrun
from benchmarks.step_time import Pair, measure_pair
from benchmarks.tiny_runs import ENVIRONMENT, TinyRuns
from benchmarks.turns import started
from tadrib.training.config import load_spec
from tadrib.training.run.directory import RunDirectory
from tadrib.training.tiny.model import build_tiny_model


@dataclass(frozen=True, slots=True)
class Figures:
    """``step_ratio`` is the median of those of ``pairs``; ``phases`` are the seconds of each in the middle start."""

    workers: int
    cores: int
    pairs: list[Pair]
    step_ratio: float
    checkpoint_stall_share: float
    checkpoint_stall_share_store: float | None
    first_step_seconds: float
    first_step_seconds_torchrun: float
    phases: dict[str, float]


def main(
    starts: Annotated[int, typer.Option(help="Runs for the start-up and the checkpoints.")] = 3,
    pairs: Annotated[int, typer.Option(help="Paired runs for the steps, ours and torchrun's.")] = 6,
    minutes: Annotated[float, typer.Option(help="Of steps in each pair.")] = 1.0,
    workers: Annotated[
        int,
        typer.Option(help="Workers of a run. As many as there are cores leave none to Ray's own processes."),
    ] = 2,
    store: Annotated[str, typer.Option(help="Also measure with the run directory under this URL.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        runs = TinyRuns(Path(name), build_tiny_model(Path(name) / "tiny"), workers)
        measured, peers, stalls = [], [], []
        for number in range(starts):
            spec = runs.spec(f"run-{number}", logging_steps=1)
            peers.append(_launch_of_torchrun(runs, spec))
            measured.append(_launch(runs, spec))
            stalls.append(_stall_share(RunDirectory(load_spec(spec).run_dir)))
        stored = _stall_in_store(runs, store) if store else None
        paired = [measure_pair(runs, number, minutes) for number in range(pairs)]
    first_step, phases = sorted(measured, key=lambda each: each[0])[starts // 2]
    figures = Figures(
        workers,
        os.cpu_count() or 1,
        paired,
        statistics.median(pair.ratio for pair in paired),
        statistics.median(stalls),
        stored,
        first_step,
        statistics.median(peers),
        phases,
    )
    _report(figures, json_file)


_PHASE = re.compile(r"\[[\d:]+\] (.+)")


def _launch(runs: TinyRuns, spec: Path) -> tuple[float, dict[str, float]]:
    """Train the spec; seconds from the command to the end of the first step, and of each phase up to about there."""
    side = ours(runs, spec)
    began = time.time()
    phases = _time_phases(side.command)
    return side.steps()[0][1] - began, phases


def _launch_of_torchrun(runs: TinyRuns, spec: Path) -> float:
    side = torchrun(runs, spec)
    began = time.time()
    with started(side.command, side.log, lambda: bool(side.steps()), ENVIRONMENT):
        return side.steps()[0][1] - began


def _time_phases(command: list[str]) -> dict[str, float]:
    """Run to the end; seconds of each phase before the steps, as its lines arrive."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    phases: dict[str, float] = {}
    phase = "starting"
    for line in process.stdout or []:
        match = _PHASE.match(line)
        if match and phase != "training":
            now = time.perf_counter()
            phases[phase] = phases.get(phase, 0.0) + now - began
            began, phase = now, match[1]
    if process.wait():
        raise typer.Exit(process.returncode)
    return phases


def _stall_share(run: RunDirectory) -> float:
    """Share of the training time in which it stood still for checkpoints, up to the last logged step before the end."""
    logged = [row for row in run.metrics.read() if "grad_norm" in row]
    seconds = logged[-1]["time"] - logged[0]["time"]
    return logged[-1].get("checkpoint_seconds", 0.0) / seconds


def _stall_in_store(runs: TinyRuns, url: str) -> float:
    spec = runs.spec("stored", storage=url)
    _time_phases(ours(runs, spec).command)
    run = RunDirectory(load_spec(spec).run_dir)
    run.pull()
    return _stall_share(run)


def _report(figures: Figures, json_file: Path | None) -> None:
    console = Console(width=120, highlight=False)
    console.print(hardware())
    console.print(f"step with workers={figures.workers} on {figures.cores} cores, each pair once by turns:")
    for pair in figures.pairs:
        console.print(
            f"  ours {pair.ours:.4f} s, torchrun {pair.torchrun:.4f} s, ratio of turns {pair.ratio:.3f}"
        )
    console.print(f"  median ratio {figures.step_ratio:.3f} (bar 1.03)")
    console.print(f"checkpoint stall on disk: {figures.checkpoint_stall_share:.1%} of training time (bar 3%)")
    if figures.checkpoint_stall_share_store is not None:
        console.print(f"checkpoint stall with a store: {figures.checkpoint_stall_share_store:.1%} (bar 3%)")
    console.print(
        f"command to first step: {figures.first_step_seconds:.1f} s (bar 30 s); torchrun: "
        f"{figures.first_step_seconds_torchrun:.1f} s"
    )
    for phase, seconds in figures.phases.items():
        console.print(f"  {phase:<28} {seconds:5.1f} s")
    if json_file is not None:
        facts = {"date": datetime.now(UTC).date().isoformat(), "hardware": hardware(), **asdict(figures)}
        json_file.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
