# SPDX-License-Identifier: Apache-2.0
"""RunDirectory: the folder of one run, which is the truth about it."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from training.errors import Problem, ResourceError

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class ErrorReport(BaseModel):
    """Why a run ended early: the exception's type, its message, the line of code, and where the log is."""

    kind: str
    message: str
    place: str = ""
    log: str = ""


class Result(BaseModel):
    """The outcome of one start of a run, as ``result.json`` holds it.

    ``steps_planned`` is None when the start ended before the schedule was known. ``metrics`` are the last
    training metrics, ``evaluation`` those on the held-out rows after training and ``evaluation_before`` those
    before its first step; both None without held-out rows. ``wall_seconds`` is the time of this start,
    ``tokens`` all that the run has trained on, over every start. ``path`` is the attention path that the start-up check
    chose, with its evidence. ``resume`` is the command that continues a run that did not finish.
    """

    status: Literal["succeeded", "failed", "stopped"]
    name: str
    method: str
    steps_done: int = 0
    steps_planned: int | None = None
    metrics: dict[str, float] = {}
    evaluation: dict[str, float] | None = None
    evaluation_before: dict[str, float] | None = None
    wall_seconds: float = 0.0
    tokens: int = 0
    num_workers: int = 1
    path: str | None = None
    versions: dict[str, str] = {}
    error: ErrorReport | None = None
    resume: str | None = None

    model_config = ConfigDict(ser_json_inf_nan="strings")


class RunDirectory:
    """Paths, metrics and result of the run at ``path``; nothing is made before `create`.

    Raises ResourceError for an object-store URL.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if "://" in str(path):
            action = "Use a local path, or one that is mounted at the same place on every node."
            problem = Problem(
                "storage_path", f"{path} is an object store; runs cannot be kept there yet.", action
            )
            raise ResourceError("the run directory cannot be used", [problem])
        self.path = Path(os.path.abspath(path))
        self.spec_file = self.path / "spec.yaml"
        self.metrics_file = self.path / "metrics.jsonl"
        self.result_file = self.path / "result.json"
        self.checkpoints = self.path / "checkpoints"
        self.final = self.path / "final"
        self.logs = self.path / "logs"
        self.data = self.path / "data"

    def __str__(self) -> str:
        return str(self.path)

    def create(self) -> None:
        """Make the folders that are missing. Raises ResourceError when that is not possible."""
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
        except OSError as error:
            problem = Problem(
                str(self.path), f"cannot be made: {error.strerror}.", "Choose another storage_path."
            )
            raise ResourceError("the run directory cannot be used", [problem]) from error

    def write_spec(self, text: str) -> None:
        write_atomically(self.spec_file, text)

    def latest_checkpoint(self) -> Path | None:
        """The checkpoint of the highest step. Checkpoints appear by rename, so one that is there is whole."""
        found = self.checkpoints.iterdir() if self.checkpoints.is_dir() else []
        steps = {int(match[1]): path for path in found if (match := _CHECKPOINT.fullmatch(path.name))}
        return steps[max(steps)] if steps else None

    def free_bytes(self) -> int:
        """Bytes free on the file system that holds, or would hold, the directory."""
        place = next(parent for parent in (self.path, *self.path.parents) if parent.exists())
        return shutil.disk_usage(place).free

    # --- metrics

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add a row; NaN and infinity, which JSON has no numbers for, are written as strings."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(_plain(row))}\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """All rows; a last line that a crash left unfinished is passed over."""
        lines = (
            self.metrics_file.read_text(encoding="utf-8").splitlines() if self.metrics_file.exists() else []
        )
        rows = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
        return rows

    def rewind_metrics(self, step: int) -> None:
        """Drop the rows after ``step``, which a run resumed there computes again: one trajectory stays."""
        if self.metrics_file.exists():
            kept = [row for row in self.read_metrics() if row.get("step", 0) <= step]
            write_atomically(self.metrics_file, "".join(f"{json.dumps(row)}\n" for row in kept))

    # --- result

    def write_result(self, result: Result) -> None:
        write_atomically(self.result_file, result.model_dump_json(indent=2, exclude_none=True) + "\n")

    def read_result(self) -> Result | None:
        """The outcome of the last start; None while the first one runs, or after a crash of all of it."""
        return (
            Result.model_validate_json(self.result_file.read_bytes()) if self.result_file.exists() else None
        )


def write_atomically(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step: old or new, never half, also after a power cut."""
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: str(v) if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}


def versions() -> dict[str, str]:
    """Installed versions of what decides a run's numbers."""
    found = {"python": platform.python_version()}
    for package in ("tadrib", "torch", "transformers", "trl", "peft", "ray"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
