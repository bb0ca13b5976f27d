# SPDX-License-Identifier: Apache-2.0
"""Step time of `tadrib train` and of plain torchrun with the same trainer, spec and workers, on the same cores.

Two starts of the very same program differ by one or two percent for as long as they run, and the machine's own speed
drifts by more. So both sides are started several times, and within each pair take turns of seconds.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tiny_runs import ENVIRONMENT, TRAIN, TinyRuns
from benchmarks.turns import seconds_a_step, started, take_turns
from training.config import load_spec
from training.metrics_file import MetricsFile
from training.run_directory import RunDirectory

_ENDLESS = 10**6
_SECONDS_A_TURN = 6.0


@dataclass(frozen=True, slots=True)
class Pair:
    """One start of each side: medians over their turns of the seconds of a step, and of the ratios turn by turn."""

    ours: float
    torchrun: float
    ratio: float


def measure_pair(runs: TinyRuns, number: int, minutes: float) -> Pair:
    """Pair ``number``; the sides alternate in going first."""
    spec = runs.spec(f"turns-{number}", steps=_ENDLESS, save_steps=_ENDLESS)
    metrics, printed = RunDirectory(load_spec(spec).run_dir).metrics, runs.folder / "torchrun.log"
    torchrun = ["torch.distributed.run", "--nproc-per-node", str(runs.workers), "--master-port", "29577"]
    with (
        started(
            [*TRAIN, str(spec)], runs.folder / "ours.log", lambda: len(_ours(metrics)) > 1, ENVIRONMENT
        ) as our_side,
        started(
            [sys.executable, "-m", *torchrun, "-m", "benchmarks.plain_torchrun", str(spec)],
            printed,
            lambda: len(_theirs(printed)) > 1,
            ENVIRONMENT,
        ) as their_side,
    ):
        rounds = max(1, round(minutes * 60 / _SECONDS_A_TURN / 2))
        if number % 2:
            their_turns, our_turns = take_turns(their_side, our_side, _SECONDS_A_TURN, rounds)
        else:
            our_turns, their_turns = take_turns(our_side, their_side, _SECONDS_A_TURN, rounds)
        ours = [seconds_a_step(_ours(metrics), turn) for turn in our_turns]
        theirs = [seconds_a_step(_theirs(printed), turn) for turn in their_turns]
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    return Pair(statistics.median(ours), statistics.median(theirs), statistics.median(ratios))


def _ours(metrics: MetricsFile) -> list[tuple[int, float]]:
    return [(row["step"], row["time"]) for row in metrics.read() if "grad_norm" in row]


def _theirs(printed: Path) -> list[tuple[int, float]]:
    rows = [line.split() for line in printed.read_text().splitlines() if line.startswith("step ")]
    return [(int(step), float(moment)) for _, step, moment in rows]
