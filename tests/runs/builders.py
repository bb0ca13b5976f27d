# SPDX-License-Identifier: Apache-2.0
"""Run directories as a driver leaves them."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import psutil

from tadrib.training.config import JobSpec
from tadrib.training.files.manifest import Manifest, describe
from tadrib.training.run.files import RunFiles


def spec_of(**changes) -> JobSpec:
    return JobSpec(**{"method": "sft", "name": "run", "dataset_path": "s3://b/rows.jsonl", **changes})


def run_in(
    folder: Path, *, rows: int = 0, lock: dict | None = None, result: dict | None = None, **spec
) -> RunFiles:
    """A run directory as a driver leaves it."""
    (folder / "logs").mkdir(parents=True)
    (folder / "spec.yaml").write_text(spec_of(**spec).to_yaml())
    began = time.time() - 2 * rows
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, rows + 1):
            row = {"step": step, "time": began + 2 * step, "loss": 1 / step, "epoch": step / 10}
            file.write(json.dumps({**row, "tokens_per_second": 500.0}) + "\n")
        file.write('{"step": 99, "lo')
    if lock is not None:
        (folder / "lock.json").write_text(json.dumps(lock))
    if result is not None:
        (folder / "result.json").write_text(json.dumps({"name": "run", "method": "sft", **result}))
        if result["status"] == "succeeded":
            (folder / "final").mkdir()
            (folder / "final" / "model.safetensors").write_bytes(bytes(100))
            manifest = Manifest(files=describe(folder / "final"))
            (folder / "final" / "manifest.json").write_text(manifest.to_json())
    return RunFiles(str(folder))


def lock_of(pid: int, **changes) -> dict:
    own = {"host": socket.gethostname(), "pid": pid, "process": psutil.Process(pid).create_time()}
    return {"owner": "a", **own, "ray_job": None, "started": time.time(), "beat": time.time(), **changes}
