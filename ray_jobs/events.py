# SPDX-License-Identifier: Apache-2.0
"""Events: what workers tell the driver while a run goes on, and the outcome they return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tadrib.training.errors import TadribError
from tadrib.training.phases import Phase


@dataclass(frozen=True, slots=True)
class Step:
    """``done`` of ``planned`` optimizer steps; this attempt began after ``start`` of them, ``seconds`` ago."""

    done: int
    planned: int
    start: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """One row for ``metrics.jsonl``; ``step`` is always in it."""

    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Started:
    """``workers`` of them begin, after this step of earlier ones; 0 when there is no checkpoint.

    ``history`` is the rows that were logged up to that step, as its checkpoint has them."""

    step: int
    workers: int
    history: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class ReadyToResize:
    """What is learnt is committed, and workers may be replaced by as many as the nodes hold."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception: as the user reads it (``error``), and its parts for ``result.json``.

    ``fatal`` says that starting the workers again cannot help; ``rank`` is the worker's, None for the driver.
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
    """A warning for the user, such as a checkpoint that was passed over; see `training.notices`."""

    text: str


Event = Phase | Step | Metrics | Started | ReadyToResize | Failure | Note


@dataclass(frozen=True, slots=True)
class Outcome:
    """What rank 0 returns. ``tokens`` counts all that the run has trained on, earlier starts included,
    ``path`` says how groups were laid out for attention, and how well that agrees with separate sequences."""

    stopped: bool
    steps_done: int
    steps_planned: int
    tokens: int
    metrics: dict[str, float] = field(default_factory=dict)
    evaluation: dict[str, float] | None = None
    path: str | None = None


class WorkersFailed(Exception):
    """Training failed. ``first`` is what the first worker to fail posted, None when none could; ``error`` is
    Ray's exception."""

    def __init__(self, first: Failure | None, error: BaseException) -> None:
        super().__init__(first.message if first else str(error))
        self.first = first
        self.error = error
