# SPDX-License-Identifier: Apache-2.0
"""Events: messages from workers to the driver during a run, and the outcome that rank 0 returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tadrib.training.errors import TadribError
from tadrib.training.phases import Phase


@dataclass(frozen=True, slots=True)
class Step:
    """``done`` of ``planned`` optimizer steps. This attempt began after step ``start``, ``seconds`` ago."""

    done: int
    planned: int
    start: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """One row for ``metrics.jsonl``, which always has ``step``."""

    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A new attempt with this number of ``workers`` continues after ``step``; 0 without a checkpoint.

    ``history`` holds the rows logged up to that step, from the checkpoint: ``metrics.jsonl`` is rewound to them."""

    step: int
    workers: int
    history: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class ReadyToResize:
    """A checkpoint of the last step is committed: the attempt may end for one with another number of workers."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception: as the user reads it (``error``), and its parts for ``result.json``.

    ``fatal``: another attempt cannot help. ``rank`` is the worker's, None for the driver.
    """

    error: TadribError
    kind: str
    message: str
    place: str
    log: str
    fatal: bool = False
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A warning for the user, such as one about a checkpoint that was skipped; see `training.notices`."""

    text: str


Event = Phase | Step | Metrics | AttemptStarted | ReadyToResize | Failure | Note


@dataclass(frozen=True, slots=True)
class Outcome:
    """What rank 0 returns. ``tokens`` counts all tokens trained on, earlier launches included. ``path`` names the
    attention path, and how well it agrees with computing sequences separately."""

    stopped: bool
    steps_done: int
    steps_planned: int
    tokens: int
    metrics: dict[str, float] = field(default_factory=dict)
    evaluation: dict[str, float] | None = None
    path: str | None = None


class WorkersFailed(Exception):
    """Training failed. ``first`` is the failure that a worker posted first, None if none could; ``error`` is Ray's
    exception."""

    def __init__(self, first: Failure | None, error: BaseException) -> None:
        super().__init__(first.message if first else str(error))
        self.first = first
        self.error = error
