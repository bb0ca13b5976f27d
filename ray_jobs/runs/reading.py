# SPDX-License-Identifier: Apache-2.0
"""Reading: determines the status of a run from its directory alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import yaml

from tadrib.ray_jobs.runs.liveness import is_alive
from tadrib.ray_jobs.runs.lookup import nearest_run
from tadrib.ray_jobs.runs.status import Status
from tadrib.training.config.yaml.file import parse_yaml
from tadrib.training.run.files import RunFiles
from tadrib.training.run.holder import Holder
from tadrib.training.run.names import DRIVER_LOG, LOGS, RESULT, SPEC
from tadrib.training.run.result import Result

_ROWS_FOR_SPEED = 20  # of the last logged ones: the remaining time follows changes of speed


def read_status(run: RunFiles) -> Status:
    """The current status of ``run``. Blocks until the next heartbeat if its driver is on another machine."""
    spec = run.text(SPEC)
    if spec is None:
        return Status("missing", run.name, run_directory=run.location, nearest=nearest_run(run))
    holder = run.holder()
    is_running = holder is not None and run.result() is None and is_alive(run, holder)
    metrics = run.metrics()
    rows = [row for row in metrics if "loss" in row]
    facts = _facts(run, _mapping(spec), rows, holder) | _evaluated(metrics)
    result = run.result()  # again: the driver may have ended meanwhile
    if holder is not None and is_running and result is None:
        if not holder.is_here:
            facts["seconds_silent"] = (
                0.0  # a heartbeat has just arrived, whatever the clock of that machine says
            )
        return Status("running", **{**facts, **_time_left(rows, facts["steps_planned"])})
    if result is None:
        is_corrupt = run.read(RESULT) is not None
        return Status("died", **facts, error="its result.json is corrupt" if is_corrupt else None)
    facts |= _ending(result)
    if result.status == "succeeded" and (damage := run.final_damage()):
        again = {
            "error": f"{damage}, although the run had succeeded",
            "resume": "the command that started it",
        }
        return Status("failed", **{**facts, **again})
    return Status(result.status, **facts)


def _facts(
    run: RunFiles, spec: dict[str, Any], rows: list[dict[str, Any]], holder: Holder | None
) -> dict[str, Any]:
    last = rows[-1] if rows else {}
    return {
        "run_directory": run.location,
        "name": run.name,
        "method": str(spec.get("method") or "") or None,
        "start": str(spec.get("model_name") or "") or None,
        "started": holder.started if holder else next(_times(rows), None),
        "steps_done": int(last.get("step", 0)),
        "steps_planned": _planned(spec, last),
        "loss": _number(last.get("loss")),
        "tokens_per_second": _number(last.get("tokens_per_second")),
        "checkpoint": run.last_checkpoint(),
        "host": holder.host if holder else None,
        "seconds_silent": round(max(0.0, time.time() - holder.beat), 1) if holder else None,
        "log": run.place(LOGS, DRIVER_LOG),
    }


def _planned(spec: dict[str, Any], last: dict[str, Any]) -> int | None:
    """Steps of the whole run: those of the spec, or an estimate from the epoch reached at the last logged step."""
    steps, epochs, epoch = spec.get("max_steps"), spec.get("num_train_epochs"), _number(last.get("epoch"))
    if isinstance(steps, int) and steps > 0:
        return int(steps)
    try:
        return max(last["step"], round(last["step"] / epoch * epochs)) if epoch and epochs else None
    except (TypeError, ValueError, OverflowError):  # a corrupt file
        return None


def _time_left(rows: list[dict[str, Any]], planned: int | None) -> dict[str, Any]:
    """Remaining seconds, by the speed of the last rows; rows without a time do not count."""
    recent = [row for row in rows if _is_time(row.get("time"))][-_ROWS_FOR_SPEED:]
    if planned is None or len(recent) < 2 or recent[-1]["step"] <= recent[0]["step"]:
        return {}
    first, last = recent[0], recent[-1]
    seconds_per_step = (last["time"] - first["time"]) / (last["step"] - first["step"])
    left = seconds_per_step * (planned - last["step"]) - (time.time() - last["time"])
    return {"seconds_left": round(max(0.0, left), 1)}


def _ending(result: Result) -> dict[str, Any]:
    begun = {"start": result.start, "started": result.started}
    return {key: value for key, value in begun.items() if value} | {
        "name": result.name,
        "method": result.method,
        "steps_done": result.steps_done,
        "steps_planned": result.steps_planned,
        "wall_seconds": result.wall_seconds,
        "tokens_per_second": _number(result.metrics.get("tokens_per_second")),
        "error": result.error.message if result.error else None,
        "log": result.error.log if result.error and result.error.log else None,
        "resume": result.resume,
        "warnings": tuple(result.warnings),
    }


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):  # a corrupt file
        return None


def _evaluated(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The last logged loss on held-out rows."""
    losses = [row["eval_loss"] for row in rows if "eval_loss" in row]
    return {"eval_loss": _number(losses[-1])} if losses else {}


def _times(rows: list[dict[str, Any]]) -> Iterator[float]:
    return (float(row["time"]) for row in rows if _is_time(row.get("time")))


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < 1e11


def _mapping(text: str) -> dict[str, Any]:
    """The keys of a spec; none if it is corrupt."""
    try:
        value = parse_yaml(text)[0]
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, dict) else {}
