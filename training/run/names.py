# SPDX-License-Identifier: Apache-2.0
"""Names of what is in a run directory, relative to it; those of checkpoints hold their step."""

from __future__ import annotations

import re

SPEC, METRICS, RESULT, REPORT = "spec.yaml", "metrics.jsonl", "result.json", "report.html"
LOCK, STOP, ID = "lock.json", "stop", "id"
CHECKPOINTS, FINAL, DATA, LOGS = "checkpoints", "final", "data", "logs"
DRIVER_LOG = "driver.log"
"""In the folder of the logs, as are those of the workers."""

_CHECKPOINT = re.compile(r"checkpoint-(0|[1-9][0-9]{0,14})")  # more digits than any run has steps for


def worker_log(rank: int) -> str:
    return f"worker-{rank}.log"


def worker_stacks(rank: int) -> str:
    """Where a worker's stack goes when it hangs."""
    return f"stacks-worker-{rank}.txt"


def checkpoint_of(step: int) -> str:
    return f"checkpoint-{step}"


def step_of(name: str) -> int | None:
    """The step in a checkpoint's name; None for any other name."""
    match = _CHECKPOINT.fullmatch(name)
    return int(match[1]) if match else None
