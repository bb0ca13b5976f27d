# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.goodput`: what a run keeps of its time when workers die.

A worker is killed with SIGKILL every so often, under `tadrib train` and under ``torchrun --max-restarts`` with the same
trainer, spec, checkpoints and moments. Goodput is the share of the time, from the first logged step to the last, that
went into steps which were kept: their number times the mean seconds of a step between faults, over that time.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.harness import hardware
from benchmarks.processes import end_of, kill
from benchmarks.sides import Side, ours, torchrun
from benchmarks.tiny_runs import ENVIRONMENT, SAVED, TinyRuns
from tadrib.training.tiny.model import build_tiny_model

_ENDLESS = 10**6
_SECONDS_TO_START = 180.0
_SECONDS_BETWEEN_LOOKS = 0.2

Steps = list[tuple[int, float]]
"""Steps as they were logged, some of them twice, and when, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Goodput:
    """Of one side. ``lost_seconds`` is what a fault cost: dead time and steps done again.

    ``recoveries`` are the seconds from each fault to the next logged step.
    """

    goodput: float
    lost_seconds: float
    recoveries: list[float]
    step_seconds: float


def main(
    faults: Annotated[int, typer.Option(help="Workers killed on each side.")] = 5,
    seconds: Annotated[float, typer.Option(help="Between two faults.")] = 60.0,
    workers: Annotated[int, typer.Option(help="Workers of a run.")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        runs = TinyRuns(Path(name), build_tiny_model(Path(name) / "tiny"), workers)
        spec = runs.spec("goodput", steps=_ENDLESS, max_failures=faults)
        figures = {
            "ours": measure(ours(runs, spec), faults, seconds),
            "torchrun": measure(torchrun(runs, spec, restarts=faults), faults, seconds),
        }
    _report(figures, faults, seconds, json_file)


def measure(side: Side, faults: int, seconds: float) -> Goodput:
    """Start a side, kill one of its workers every ``seconds``, and stop it ``seconds`` after the last one.

    Raises RuntimeError, with the end of what it printed, when it ends or no step follows.
    """
    generator = random.Random(0)
    with side.log.open("w") as output:
        process = subprocess.Popen(side.command, env=ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT)
    try:
        began = _wait_for_a_step(side, process, after=0.0)
        moments, recoveries = [], []
        for number in range(1, faults + 1):
            time.sleep(max(0.0, began + number * seconds - time.time()))
            moments.append(time.time())
            generator.choice(side.workers(process.pid)).kill()
            # what was under way at that moment may still be logged
            recoveries.append(_wait_for_a_step(side, process, after=moments[-1] + 0.5) - moments[-1])
        time.sleep(max(0.0, began + (faults + 1) * seconds - time.time()))
        steps = side.steps()
    finally:
        kill(process)
    share, step_seconds = goodput(steps, moments)
    lost = (1 - share) * (steps[-1][1] - steps[0][1]) / faults
    return Goodput(share, lost, recoveries, step_seconds)


def goodput(steps: Steps, faults: list[float]) -> tuple[float, float]:
    """The share of the time that went into steps which were kept, and the mean seconds of a step between ``faults``.

    Those are in seconds since the epoch. Checkpoints are part of a step's time; only what a fault costs is lost.
    """
    undisturbed = [
        (m - n, b - a) for (n, a), (m, b) in pairwise(steps) if not any(a <= fault <= b for fault in faults)
    ]
    mean = sum(seconds for _, seconds in undisturbed) / sum(count for count, _ in undisturbed)
    (first, began), (last, ended) = steps[0], steps[-1]
    return (last - first) * mean / (ended - began), mean


def _wait_for_a_step(side: Side, process: subprocess.Popen, after: float) -> float:
    """When the first step logged later than ``after`` was, in seconds since the epoch."""
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        later = [moment for _, moment in side.steps() if moment > after]
        if later:
            return later[0]
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise RuntimeError(f"no step followed:\n{end_of(side.log)}")


def _report(figures: dict[str, Goodput], faults: int, seconds: float, json_file: Path | None) -> None:
    console = Console(width=120, highlight=False)
    console.print(hardware())
    console.print(f"{faults} workers killed, one every {seconds:.0f} s; a checkpoint every {SAVED} steps:")
    for side, found in figures.items():
        median, slowest = statistics.median(found.recoveries), max(found.recoveries)
        console.print(
            f"  {side:<9} goodput {found.goodput:.1%}, {found.lost_seconds:.1f} s a fault; fault to next step "
            f"{median:.1f} s (median), {slowest:.1f} s (slowest); {found.step_seconds:.4f} s a step"
        )
    if json_file is not None:
        facts: dict[str, str | float] = {"date": datetime.now(UTC).date().isoformat(), "hardware": hardware()}
        facts |= {"faults": faults, "seconds_between": seconds, "save_steps": SAVED}
        sides = {side: asdict(found) for side, found in figures.items()}
        json_file.write_text(json.dumps(facts | sides, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
