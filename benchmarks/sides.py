# SPDX-License-Identifier: Apache-2.0
"""The two sides of a comparison of ways to run: `tadrib train`, and plain torchrun with the same trainer and spec."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.tiny_runs import TRAIN, TinyRuns
from tadrib.training.config import load_spec
from tadrib.training.run.directory import RunDirectory

_PEER = "benchmarks.plain_torchrun"
_AGENT = "torch.distributed.run"


@dataclass(frozen=True, slots=True)
class Side:
    """A start of one side. ``steps`` gives what it has logged so far: step and seconds since the epoch.

    ``is_worker`` tells by its command line whether a process trains. What it prints goes to ``log``.
    """

    command: list[str]
    log: Path
    steps: Callable[[], list[tuple[int, float]]]
    is_worker: Callable[[str], bool]

    def workers(self, pid: int) -> list[psutil.Process]:
        """The training processes under ``pid``."""
        return [child for child in psutil.Process(pid).children(recursive=True) if self._trains(child)]

    def _trains(self, process: psutil.Process) -> bool:
        try:
            return self.is_worker(" ".join(process.cmdline()))
        except psutil.Error:
            return False


def ours(runs: TinyRuns, spec: Path) -> Side:
    metrics = RunDirectory(load_spec(spec).run_dir).metrics

    def steps() -> list[tuple[int, float]]:
        return [(row["step"], row["time"]) for row in metrics.read() if "grad_norm" in row]

    return Side(
        [*TRAIN, str(spec)],
        runs.folder / f"{spec.stem}-ours.log",
        steps,
        lambda line: line.startswith("ray::RayTrainWorker"),
    )


def torchrun(runs: TinyRuns, spec: Path, restarts: int = 0) -> Side:
    """``restarts`` times torchrun starts all workers again after one has failed."""
    log = runs.folder / f"{spec.stem}-torchrun.log"
    agent = [_AGENT, "--standalone", "--nproc-per-node", str(runs.workers)]

    def steps() -> list[tuple[int, float]]:
        rows = [line.split() for line in log.read_text().splitlines() if line.startswith("step ")]
        return [(int(row[1]), float(row[2])) for row in rows if len(row) == 3]

    return Side(
        [sys.executable, "-m", *agent, "--max-restarts", str(restarts), "-m", _PEER, str(spec)],
        log,
        steps,
        lambda line: _PEER in line and _AGENT not in line,
    )
