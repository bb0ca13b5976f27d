# SPDX-License-Identifier: Apache-2.0
"""Names of the files and folders in a run directory; a checkpoint's name contains its step."""

from __future__ import annotations

import re

SPEC, METRICS, RESULT, REPORT = "spec.yaml", "metrics.jsonl", "result.json", "report.html"
LOCK, STOP, ID = "lock.json", "stop", "id"
CHECKPOINTS, FINAL, DATA, LOGS = "checkpoints", "final", "data", "logs"
PREPARED = "prepared"
"""Beside the runs: tokenized rows, for all of them."""
DRIVER_LOG = "driver.log"
"""In the folder `LOGS`, like the workers' logs."""

_CHECKPOINT = re.compile(r"checkpoint-(0|[1-9][0-9]{0,14})")  # 15 digits, more than any run has steps


def worker_log(rank: int) -> str:
    return f"worker-{rank}.log"


def worker_stacks(rank: int) -> str:
    """The file for the stack of a worker when a run hangs."""
    return f"stacks-worker-{rank}.txt"


def checkpoint_of(step: int) -> str:
    return f"checkpoint-{step}"


def step_of(name: str) -> int | None:
    """The step in the name of a checkpoint folder; None for any other name."""
    match = _CHECKPOINT.fullmatch(name)
    return int(match[1]) if match else None
