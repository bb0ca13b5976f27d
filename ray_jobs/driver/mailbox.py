# SPDX-License-Identifier: Apache-2.0
"""Mailbox: the driver's end of what it and the workers have to tell each other."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

from tadrib.ray_jobs.events import Event, Failure, ReadyToResize, Started, Step
from tadrib.ray_jobs.worker.link import Orders, exchange


@dataclass(slots=True)
class Attempt:
    """One start of the workers: the step it has come to, and why it ended."""

    step: int
    failure: Failure | None = None

    def ended_as(self, other: Attempt) -> bool:
        """Whether both failed in the same way, the second without having come further."""
        if self.failure is None or other.failure is None:
            return False
        same = (self.failure.kind, self.failure.message) == (other.failure.kind, other.failure.message)
        return same and other.step <= self.step


@dataclass(slots=True)
class Group:
    """The workers of one attempt: handles of their actors, the answers they owe, and where rank 0 said they begin."""

    workers: Sequence[Any] = ()
    owed: dict[Any, Any] = field(default_factory=dict)
    begin_at: int | None = None

    def ask(self, orders: Orders) -> None:
        """Ask every worker for its events; one that has not answered yet is not asked twice."""
        for worker in self.workers:
            if worker not in self.owed:
                self.owed[worker] = worker.execute.remote(exchange, orders)

    def answers(self, timeout: float) -> list[Event]:
        """What arrives within ``timeout`` seconds, over when all have answered; nothing of a worker that is gone, whose
        end Ray Train notices too."""
        answered, _ = ray.wait(list(self.owed.values()), num_returns=len(self.owed), timeout=timeout)
        events: list[Event] = []
        for worker, answer in list(self.owed.items()):
            if answer in answered:
                with contextlib.suppress(RayError):
                    events += ray.get(answer)
                    del self.owed[worker]
        return events


class Mailbox:
    """Collects events from the workers of the attempt that runs, and brings them their orders.

    Ray Train, in another thread, says which workers those are, and asks for a save; all else is called from one thread.
    """

    def __init__(self) -> None:
        self._attempts: list[Attempt] = []
        self._group = Group()
        self._go = self._save = self._stop = False

    def serve(self, workers: Sequence[Any]) -> None:
        """From now on the workers are these, by the handles of their actors."""
        self._group, self._save = Group(workers), False

    def collect(self, timeout: float) -> list[Event]:
        """The events of all workers, of those that answer within ``timeout`` seconds."""
        group = self._group
        if not group.workers:
            return []
        group.ask(self.orders())
        events = group.answers(timeout)
        for event in events:
            self.take(event, group)
        return events

    def orders(self) -> Orders:
        """What holds for the workers of the attempt that runs."""
        return Orders(self._go, self.hopeless(), self._group.begin_at, self._save, self._stop)

    def take(self, event: Event, group: Group) -> None:
        """Remember what says how the attempt of ``group`` goes."""
        if isinstance(event, Started):
            self._attempts.append(Attempt(event.step))
            group.begin_at = event.step
        elif isinstance(event, ReadyToResize):
            self._save = False
        elif isinstance(event, Step) and self._attempts:
            self._attempts[-1].step = event.done
        elif isinstance(event, Failure) and self._attempts and self._attempts[-1].failure is None:
            self._attempts[-1].failure = event

    def hopeless(self) -> Failure | None:
        """The failure of the last attempt, if another attempt would only repeat it."""
        failures = [attempt for attempt in self._attempts[-2:] if attempt.failure is not None]
        last = failures[-1].failure if failures and failures[-1] is self._attempts[-1] else None
        if last is None or last.fatal:
            return last
        return last if len(failures) == 2 and failures[0].ended_as(failures[1]) else None

    def let_go(self) -> None:
        """The data are ready: let workers begin."""
        self._go = True

    def request_save(self) -> None:
        """Tell workers to save, as others are to take their place; `has_saved` says when they have."""
        self._save = True

    @property
    def has_saved(self) -> bool:
        return not self._save

    def request_stop(self) -> None:
        """Tell workers that the run is to stop."""
        self._stop = True
