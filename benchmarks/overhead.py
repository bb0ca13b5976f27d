# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.overhead`: what a run costs beyond its training.

- step time of `tadrib train` against plain torchrun with the same trainer, spec and workers, in turns of seconds on the
  same cores, the median of their ratios;
- how long training stands still for a checkpoint every 50 steps, as a share of the time of those steps, with the run
  directory on a disk and, uploading in the background, in an S3-protocol store;
- seconds from the command to the first step, and what they go to.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.harness import hardware
from benchmarks.turns import seconds_a_step, started, take_turns
from training.config import load_spec
from training.metrics_file import MetricsFile
from training.run_directory import RunDirectory
from training.tiny_model import build_tiny_model

STEPS, LOGGED, SAVED = 200, 10, 50
ENDLESS = 10**6
SECONDS_A_TURN = 6.0
TADRIB = str(Path(sys.executable).parent / "tadrib")
ROWS = Path(__file__).parent.parent / "examples" / "data" / "sft_train.jsonl"


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of a step on each side are medians over ``turns``, the ratio is that of each turn to the next."""

    workers: int
    cores: int
    turns: int
    ours_step_seconds: float
    torchrun_step_seconds: float
    step_ratio: float
    checkpoint_stall_share: float
    checkpoint_stall_share_store: float | None
    first_step_seconds: float
    phases: dict[str, float]


def main(
    runs: Annotated[int, typer.Option(help="Runs for the start-up and the checkpoints.")] = 3,
    minutes: Annotated[float, typer.Option(help="For the steps, of both sides together.")] = 5.0,
    workers: Annotated[
        int,
        typer.Option(help="Workers of a run. As many as there are cores leave none to Ray's own processes."),
    ] = 2,
    store: Annotated[str, typer.Option(help="Also measure with the run directory under this URL.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    stalls, starts = [], []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), build_tiny_model(Path(name) / "tiny"), workers)
        ours, torchrun = _step_seconds(bench, minutes)
        for number in range(runs):
            spec = bench.spec(f"run-{number}")
            starts.append(_time_phases(spec))
            stalls.append(_stall_share(RunDirectory(load_spec(spec).run_dir)))
        stored = _stall_in_store(bench, store) if store else None
    middle = sorted(starts, key=lambda phases: sum(phases.values()))[len(starts) // 2]
    figures = Figures(
        workers,
        os.cpu_count() or 1,
        len(ours),
        statistics.median(ours),
        statistics.median(torchrun),
        statistics.median(our / their for our, their in zip(ours, torchrun, strict=True)),
        statistics.median(stalls),
        stored,
        sum(middle.values()),
        middle,
    )
    _report(figures, json_file)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs share."""

    folder: Path
    model: Path
    workers: int

    def spec(self, name: str, *, storage: str = "", steps: int = STEPS, save_steps: int = SAVED) -> Path:
        settings = {
            "method": "sft",
            "name": name,
            "model_name": str(self.model),
            "dataset_path": str(ROWS),
            "storage_path": storage or str(self.folder / "runs"),
            "max_seq_length": 256,
            "torch_dtype": "float32",
            "gradient_checkpointing": False,
            "use_lora": False,
            "per_device_train_batch_size": 2,
            "max_steps": steps,
            "logging_steps": LOGGED,
            "save_steps": save_steps,
            "resources": {"num_workers": self.workers},
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(settings), encoding="utf-8")
        return path


_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "local"}
_PHASE = re.compile(r"\[[\d:]+\] (.+)")


def _time_phases(spec: Path) -> dict[str, float]:
    """Run the spec; seconds of each phase up to the first step, as its lines arrive."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [TADRIB, "train", str(spec)], env=_ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    phases: dict[str, float] = {}
    phase = "starting"
    for line in process.stdout or []:
        match = _PHASE.match(line)
        if match and phase != "done":
            now = time.perf_counter()
            phases[phase] = phases.get(phase, 0.0) + now - began
            began, phase = now, match[1]
            if phase.startswith("training  step"):
                phase = "done"
    if process.wait():
        raise typer.Exit(process.returncode)
    return phases


def _step_seconds(bench: Bench, minutes: float) -> tuple[list[float], list[float]]:
    """Seconds of a step of ours and of torchrun, turn by turn."""
    spec = bench.spec("turns", steps=ENDLESS, save_steps=ENDLESS)
    metrics, printed = RunDirectory(load_spec(spec).run_dir).metrics, bench.folder / "torchrun.log"
    python = [sys.executable, "-m"]
    torchrun = ["torch.distributed.run", "--nproc-per-node", str(bench.workers), "--master-port", "29577"]
    with (
        started(
            [TADRIB, "train", str(spec)],
            bench.folder / "ours.log",
            lambda: len(_ours(metrics)) > 1,
            _ENVIRONMENT,
        ) as our_side,
        started(
            [*python, *torchrun, "-m", "benchmarks.plain_torchrun", str(spec)],
            printed,
            lambda: len(_theirs(printed)) > 1,
            _ENVIRONMENT,
        ) as their_side,
    ):
        turns = take_turns(our_side, their_side, SECONDS_A_TURN, round(minutes * 60 / SECONDS_A_TURN / 2))
        ours = [seconds_a_step(_ours(metrics), turn) for turn in turns.first]
        theirs = [seconds_a_step(_theirs(printed), turn) for turn in turns.second]
    return ours, theirs


def _ours(metrics: MetricsFile) -> list[tuple[int, float]]:
    return [(row["step"], row["time"]) for row in metrics.read() if "grad_norm" in row]


def _theirs(printed: Path) -> list[tuple[int, float]]:
    rows = [line.split() for line in printed.read_text().splitlines() if line.startswith("step ")]
    return [(int(step), float(moment)) for _, step, moment in rows]


def _stall_share(run: RunDirectory) -> float:
    """Share of the training time in which it stood still for checkpoints, up to the last logged step before the end."""
    logged = [row for row in run.metrics.read() if "grad_norm" in row]
    seconds = logged[-1]["time"] - logged[0]["time"]
    return logged[-1].get("checkpoint_seconds", 0.0) / seconds


def _stall_in_store(bench: Bench, url: str) -> float:
    spec = bench.spec("stored", storage=url)
    _time_phases(spec)
    run = RunDirectory(load_spec(spec).run_dir)
    run.pull()
    return _stall_share(run)


def _report(figures: Figures, json_file: Path | None) -> None:
    console = Console(width=120, highlight=False)
    console.print(hardware())
    console.print(
        f"step with workers={figures.workers} on {figures.cores} cores, {figures.turns} turns: ours "
        f"{figures.ours_step_seconds:.4f} s, torchrun {figures.torchrun_step_seconds:.4f} s, "
        f"ratio {figures.step_ratio:.3f} (bar 1.03)"
    )
    console.print(f"checkpoint stall on disk: {figures.checkpoint_stall_share:.1%} of training time (bar 3%)")
    if figures.checkpoint_stall_share_store is not None:
        console.print(f"checkpoint stall with a store: {figures.checkpoint_stall_share_store:.1%} (bar 3%)")
    console.print(f"command to first step: {figures.first_step_seconds:.1f} s (bar 30 s)")
    for phase, seconds in figures.phases.items():
        console.print(f"  {phase:<28} {seconds:5.1f} s")
    if json_file is not None:
        facts = {"date": datetime.now(UTC).date().isoformat(), "hardware": hardware(), **asdict(figures)}
        json_file.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
