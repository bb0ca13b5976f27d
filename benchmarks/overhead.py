# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.overhead`: what a run costs beyond its training.

- step time of `tadrib train` against plain torchrun with the same trainer, spec and workers, in turn, medians;
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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.harness import hardware
from training.config import load_spec
from training.run_directory import RunDirectory
from training.tiny_model import build_tiny_model

STEPS, LOGGED, SAVED = 200, 10, 50
ROWS = Path(__file__).parent.parent / "examples" / "data" / "sft_train.jsonl"


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of a step on each side, a list entry a run; the rest as the module says."""

    workers: int
    cores: int
    ours_step_seconds: list[float]
    torchrun_step_seconds: list[float]
    step_ratio: float
    checkpoint_stall_share: float
    checkpoint_stall_share_store: float | None
    first_step_seconds: float
    phases: dict[str, float]


def main(
    runs: Annotated[int, typer.Option(help="Runs of each side; medians are compared.")] = 3,
    workers: Annotated[
        int,
        typer.Option(help="Workers of a run. As many as there are cores leave none to Ray's own processes."),
    ] = 2,
    store: Annotated[str, typer.Option(help="Also measure with the run directory under this URL.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    ours, torchrun, stalls, starts = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        model = build_tiny_model(Path(folder) / "tiny")
        for number in range(runs):
            spec = _spec(Path(folder), f"ours-{number}", model, str(Path(folder) / "runs"), workers)
            phases = _time_phases(spec)
            rows = RunDirectory(load_spec(spec).run_dir).metrics.read()
            ours.append(_step_seconds([(row["step"], row["time"]) for row in rows if "grad_norm" in row]))
            stalls.append(_stall_share(rows))
            starts.append(phases)
            torchrun.append(_step_seconds(list(_under_torchrun(spec, workers))))
        stored = _stall_in_store(Path(folder), model, store, workers) if store else None
    middle = sorted(starts, key=lambda phases: sum(phases.values()))[len(starts) // 2]
    figures = Figures(
        workers,
        os.cpu_count() or 1,
        ours,
        torchrun,
        statistics.median(ours) / statistics.median(torchrun),
        statistics.median(stalls),
        stored,
        sum(middle.values()),
        middle,
    )
    _report(figures, json_file)


def _spec(folder: Path, name: str, model: Path, storage: str, workers: int) -> Path:
    settings = {
        "method": "sft",
        "name": name,
        "model_name": str(model),
        "dataset_path": str(ROWS),
        "storage_path": storage,
        "max_seq_length": 256,
        "torch_dtype": "float32",
        "gradient_checkpointing": False,
        "use_lora": False,
        "per_device_train_batch_size": 2,
        "max_steps": STEPS,
        "logging_steps": LOGGED,
        "save_steps": SAVED,
        "resources": {"num_workers": workers},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "local"}
_PHASE = re.compile(r"\[[\d:]+\] (.+)")


def _time_phases(spec: Path) -> dict[str, float]:
    """Run the spec; seconds of each phase up to the first step, as its lines arrive."""
    tadrib = str(Path(sys.executable).parent / "tadrib")
    began = time.perf_counter()
    process = subprocess.Popen(
        [tadrib, "train", str(spec)], env=_ENVIRONMENT, stdout=subprocess.PIPE, text=True
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


def _under_torchrun(spec: Path, workers: int) -> Iterator[tuple[int, float]]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(workers),
        "--master-port",
        "29577",
    ]
    output = subprocess.run(
        [*command, "-m", "benchmarks.plain_torchrun", str(spec)],
        env=_ENVIRONMENT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for line in output.splitlines():
        if line.startswith("step "):
            _, step, moment = line.split()
            yield int(step), float(moment)


def _step_seconds(times: list[tuple[int, float]]) -> float:
    """Median seconds of a step between logged ones; windows with a checkpoint in them are left out."""
    windows = [
        (later - earlier) / (after - before)
        for (before, earlier), (after, later) in pairwise(times)
        if before % SAVED and before > LOGGED
    ]
    return statistics.median(windows)


def _stall_share(rows: list[dict]) -> float:
    """Share of the training time in which it stood still for checkpoints, up to the last logged step before the end."""
    logged = [row for row in rows if "grad_norm" in row]
    seconds = logged[-1]["time"] - logged[0]["time"]
    return logged[-1].get("checkpoint_seconds", 0.0) / seconds


def _stall_in_store(folder: Path, model: Path, url: str, workers: int) -> float:
    spec = _spec(folder, "stored", model, url, workers)
    _time_phases(spec)
    run = RunDirectory(load_spec(spec).run_dir)
    run.pull()
    return _stall_share(run.metrics.read())


def _report(figures: Figures, json_file: Path | None) -> None:
    console = Console(width=120, highlight=False)
    console.print(hardware())
    ours, torchrun = map(statistics.median, (figures.ours_step_seconds, figures.torchrun_step_seconds))
    console.print(
        f"step of {figures.workers} workers on {figures.cores} cores: ours {ours:.4f} s, torchrun {torchrun:.4f} s, "
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
