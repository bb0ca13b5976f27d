# SPDX-License-Identifier: Apache-2.0
"""A run as its user starts it, a process of its own, with ways to hurt it and to see how it went on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from tadrib.training.config.locations import inside
from tadrib.training.run.directory import RunDirectory
from tests.tiny import tiny_model, write_rows

ROOT = Path(__file__).parents[2]
STEPS, SAVE_STEPS = 120, 10
_SECONDS = 300
"""For anything awaited; a busy machine is slow, a hung run is caught."""
_WORKER = "ray::RayTrainWorker"


def write_spec(folder: Path, name: str, **changes) -> Path:
    """Two workers that train all weights in float32 for several epochs, with every step logged."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / "train.jsonl"
    spec = {
        "method": "sft",
        "name": name,
        "model_name": tiny_model(),
        "dataset_path": str(rows) if rows.exists() else write_rows(rows, "sft_train.jsonl", 300),
        "storage_path": str(folder / "runs"),
        "learning_rate": 1e-3,
        "max_seq_length": 128,
        "torch_dtype": "float32",
        "gradient_checkpointing": False,
        "use_lora": False,
        "max_steps": STEPS,
        "save_steps": SAVE_STEPS,
        "logging_steps": 1,
        "resources": {"num_workers": 2},
        **changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path


class Training:
    """`tadrib train` (or another command) on ``spec``; ``run`` is its directory."""

    def __init__(
        self, spec: Path, *, environment: dict[str, str] | None = None, command: Sequence[str] = ("train",)
    ) -> None:
        settings = json.loads(spec.read_text())
        self.spec, self.name = spec, settings["name"]
        self.run = RunDirectory(inside(settings["storage_path"], self.name))
        self.output_file = spec.with_suffix(f".{time.monotonic_ns()}.out")
        own = {"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        with self.output_file.open("w") as output:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / "tadrib"), *command, str(spec)],
                env={**os.environ, **own, "OMP_NUM_THREADS": "1", **(environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def rows(self) -> list[dict]:
        return [row for row in self.run.metrics.read() if "loss" in row]

    def last_step(self) -> int:
        return max((row["step"] for row in self.rows()), default=0)

    def wait_for_step(self, step: int) -> None:
        self.wait_until(lambda: self.last_step() >= step, f"step {step}")

    def wait_for_a_row_after(self, moment: float) -> dict:
        """The first step logged after ``moment`` (seconds since the epoch), as the workers' clock says."""
        found: list[dict] = []

        def look() -> bool:
            found[:] = [row for row in self.rows() if row["time"] > moment]
            return bool(found)

        self.wait_until(look, "a step after the fault")
        return found[0]

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while not condition():
            assert self.process.poll() is None, f"the run ended while waiting for {what}:\n{self.output}"
            assert time.monotonic() < deadline, f"no {what} after {_SECONDS} s:\n{self.output}"
            time.sleep(0.05)

    def finish(self) -> int:
        """The exit code, once the process has ended."""
        try:
            return self.process.wait(timeout=_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the driver and every process it started, as the loss of its machine does."""
        kill_family(self.process.pid)
        self.process.wait()

    def workers(self) -> list[int]:
        return workers_of(self.process.pid)


def workers_of(parent: int) -> list[int]:
    """Process ids of the training workers under ``parent``, a driver or a node, oldest first."""
    found = [each for each in _descendants(parent) if _title(each).startswith(_WORKER)]
    return [each.pid for each in sorted(found, key=lambda each: each.create_time())]


def kill_family(pid: int) -> None:
    """End a process and all that it started, as the loss of their machine does."""
    for each in [pid, *(child.pid for child in _descendants(pid))]:
        send(each, signal.SIGKILL)


def send(pid: int, number: int) -> None:
    """Signal a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def losses(training: Training) -> dict[int, float]:
    """Loss by step; each step must stand there once."""
    rows = [row for row in training.rows() if "grad_norm" in row]
    steps = [row["step"] for row in rows]
    assert steps == list(range(1, len(steps) + 1)), steps
    return {row["step"]: row["loss"] for row in rows}


def tokens(training: Training) -> dict[int, int]:
    """Tokens seen up to each step: with every row once per epoch they are those of the uninterrupted run."""
    return {row["step"]: row["num_tokens"] for row in training.rows() if "grad_norm" in row}


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
