# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, and the start after it, as a user does it: in a process of its own that starts its own Ray."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tadrib.training.run.directory import RunDirectory
from tests.tiny import tiny_model, write_rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STEPS = 40


def start(folder: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "local"}
    return subprocess.Popen(
        [sys.executable, "-m", "tadrib", "train", "spec.yaml"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def write_spec(folder: Path) -> RunDirectory:
    spec = {
        "method": "sft",
        "name": "run",
        "model_name": tiny_model(),
        "dataset_path": write_rows(folder / "train.jsonl", "sft_train.jsonl", 200),
        "max_seq_length": 256,
        "torch_dtype": "float32",
        "gradient_checkpointing": False,
        "max_steps": STEPS,
        "logging_steps": 1,
        "resources": {"num_workers": 2},
    }
    (folder / "spec.yaml").write_text(json.dumps(spec))
    return RunDirectory(folder / "runs" / "run")


def wait_for_a_step(run: RunDirectory, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 180
    while process.poll() is None and not any("loss" in row for row in run.metrics.read()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ray_processes_of(pid: int) -> list[str]:
    """Command lines of the Ray session that process ``pid`` started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"_{pid}/sockets" in line:
            found.append(line)
    return found


def test_ctrl_c_saves_and_exits_130_and_the_same_command_finishes_the_run(tmp_path):
    run = write_spec(tmp_path)
    first = start(tmp_path)
    wait_for_a_step(run, first)
    first.send_signal(signal.SIGINT)
    screen, _ = first.communicate(timeout=120)

    assert first.returncode == 130, screen
    assert "stopping after this step; press Ctrl-C again to abort" in screen
    stopped = run.read_result()
    assert stopped.status == "stopped"
    assert 0 < stopped.steps_done < STEPS
    assert run.latest_checkpoint().name == f"checkpoint-{stopped.steps_done}"
    assert stopped.resume == "tadrib train spec.yaml"
    assert "continue with: tadrib train spec.yaml" in screen
    assert not ray_processes_of(first.pid)

    second = start(tmp_path)
    screen, _ = second.communicate(timeout=300)

    assert second.returncode == 0, screen
    assert f"continuing after step {stopped.steps_done}" in screen
    finished = run.read_result()
    assert (finished.status, finished.steps_done) == ("succeeded", STEPS)
    assert [row["step"] for row in run.metrics.read() if "loss" in row] == list(range(1, STEPS + 1))
    assert finished.tokens > stopped.tokens
