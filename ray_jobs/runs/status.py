# SPDX-License-Identifier: Apache-2.0
"""Status: the state of a run in any place, with its exit code and a sentence that describes it."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from tadrib.ray_jobs.console import duration
from tadrib.training.errors import ClusterError, SpecError, StoppedError, TadribError, TrainingError

State = Literal[
    "waiting", "queued", "pending", "running", "succeeded", "failed", "stopped", "died", "missing"
]
EXIT_CODES: dict[State, int] = {
    "waiting": 0,
    "queued": 0,
    "pending": 0,
    "running": 0,
    "succeeded": 0,
    "failed": 1,
    "died": 1,
    "missing": 2,
    "stopped": 130,
}
NO_RESULT = "Ray reports that its job succeeded, but no result.json confirms it"
_GOES_ON = ("waiting", "queued", "pending", "running")


@dataclass(frozen=True, slots=True)
class Status:
    """The state is ``waiting`` for a Ray job that has not begun to train, ``queued`` or ``pending`` for such a RayJob,
    and ``died`` for a run with neither a driver nor a result.

    ``words`` is a sentence that replaces the one made from the fields; ``action`` is the next step; ``facts`` are
    further lines, each a label and a value. ``driver_exit_code`` is that of the run's command (`training.errors`).

    Facts of the run directory are set if it could be read. ``start`` is the model that training starts from; for an
    adapter, the base model is included once the run has ended. ``started`` is the time of the last launch, in seconds
    since the epoch. During a run, steps are those of the last logged row, and ``steps_planned`` is an estimate if the
    spec counts epochs. ``loss`` and ``eval_loss`` are the last ones logged. ``seconds_silent`` is the age of the
    driver's last heartbeat. ``nearest`` is the run with the most similar name to a missing one.
    """

    state: State
    name: str
    words: str = ""
    action: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    driver_exit_code: int | None = None
    run_directory: str = ""
    method: str | None = None
    start: str | None = None
    started: float | None = None
    steps_done: int = 0
    steps_planned: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    wall_seconds: float | None = None
    checkpoint: str | None = None
    host: str | None = None
    seconds_silent: float | None = None
    error: str | None = None
    log: str | None = None
    resume: str | None = None
    nearest: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.state]

    @property
    def has_ended(self) -> bool:
        return self.state not in _GOES_ON

    @property
    def sentence(self) -> str:
        """State, progress, and why the run ended or when it will."""
        return self.words or _sentence(self)

    def with_progress(self, progress: Status | None) -> Status:
        """Add what the run directory says; its error and how to resume only if both have the same state, as the
        directory may describe an earlier launch."""
        if progress is None:
            return self
        agrees = progress.state == self.state
        return replace(
            progress,
            state=self.state,
            name=self.name,
            words=self.words,
            action=self.action,
            facts=self.facts,
            driver_exit_code=self.driver_exit_code,
            error=progress.error if agrees else self.error,
            resume=progress.resume if agrees else None,
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON, NaN and infinity as strings, with ``sentence`` and ``exit_code``."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "words"}
        plain = {
            key: str(v) if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()
        }
        return plain | {"sentence": self.sentence, "exit_code": self.exit_code}


_STATUSES = TypeAdapter(list[Status])


def read_output(text: str) -> list[Status]:
    """The statuses in the output of `tadrib status RUN --json` or `tadrib list --json`, below other output;
    empty if there are none. Keys of other versions are ignored."""
    for line in reversed(text.splitlines()):
        with suppress(ValidationError):
            return _STATUSES.validate_json(f"[{line}]" if line.startswith("{") else line)
    return []


def raise_unless_succeeded(status: Status) -> None:
    """Unless the run succeeded, raise the error whose exit code tells how it ended."""
    if status.state == "succeeded":
        return
    after = status.action or (f"continue with: {status.resume}" if status.resume else "")
    text = f"{status.sentence}\n  {after}" if after else status.sentence
    if status.state == "stopped":
        raise StoppedError(text)
    kinds: dict[int | None, type[TadribError]] = {2: SpecError, 3: ClusterError}
    raise kinds.get(status.driver_exit_code, TrainingError)(text)


def steps(status: Status) -> str:
    """The progress of a run: ``step 15 of 30``."""
    planned = f" of {status.steps_planned}" if status.steps_planned else ""
    return f"step {status.steps_done}{planned}" if status.steps_done else "before its first step"


def first_problem(error: str | None) -> str:
    """The first line of an error, with its first problem in place of the number of problems."""
    title, *problems = (error or "no reason was recorded").strip().splitlines() or [""]
    counted = re.fullmatch(r"(.*): \d+ problems?", title)
    return f"{counted[1]}: {problems[0].strip()}" if counted and problems else title


def _sentence(status: Status) -> str:
    name, far = status.name, steps(status)
    match status.state:
        case "waiting" | "queued" | "pending":
            return f"{name} has been submitted and is starting"
        case "running":
            left = f", about {duration(status.seconds_left)} left" if status.seconds_left is not None else ""
            return f"{name} is running: {far}{left}"
        case "succeeded":
            took = f" in {duration(status.wall_seconds)}" if status.wall_seconds else ""
            return f"{name} succeeded: {far}{took}"
        case "stopped":
            return f"{name} was stopped: {far}"
        case "failed":
            at = f"at {far}" if status.steps_done else far
            return f"{name} failed {at}: {first_problem(status.error)}"
        case "died" if status.error:
            return f"{name} has ended: {far}; {status.error}"
        case "died":
            return f"{name} ended without a result: {far}, and its driver is gone{_last_seen(status)}"
        case _:
            meant = f"; did you mean {status.nearest}?" if status.nearest else ""
            return f"there is no run in {status.run_directory}{meant}"


def _last_seen(status: Status) -> str:
    if status.seconds_silent is None:
        return ""
    return f"; the last heartbeat from {status.host} was {duration(status.seconds_silent)} ago"
