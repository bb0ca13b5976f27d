# SPDX-License-Identifier: Apache-2.0
"""Mailbox: the driver's end of its exchange with the workers.

`ray_jobs.worker.link` is a worker's end, and describes the protocol. The mailbox also remembers how attempts went: from
that it decides whether another attempt could help.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

from tadrib.ray_jobs.events import AttemptStarted, Event, Failure, ReadyToResize, Step
from tadrib.ray_jobs.worker.link import Orders, exchange


@dataclass(slots=True)
class Attempt:
    """One start of the workers: the last step it has done, and why it failed."""

    step: int
    failure: Failure | None = None

    def ended_as(self, other: Attempt) -> bool:
        """Whether both failed in the same way, ``other``, the later one, without further progress."""
        if self.failure is None or other.failure is None:
            return False
        same = (self.failure.kind, self.failure.message) == (other.failure.kind, other.failure.message)
        # with progress in between, the same message may have another cause: a node that is lost now and then
        return same and other.step <= self.step


@dataclass(slots=True)
class WorkerGroup:
    """The workers of one attempt: handles of their actors, calls without an answer yet, and the step that rank 0 chose
    to continue after."""

    workers: Sequence[Any] = ()
    calls: dict[Any, Any] = field(default_factory=dict)
    start_step: int | None = None

    def ask(self, orders: Orders) -> None:
        """Send the orders to every worker and ask for its events; not again while a call is unanswered."""
        for worker in self.workers:
            if worker not in self.calls:
                self.calls[worker] = worker.execute.remote(exchange, orders)

    def answers(self, timeout: float) -> list[Event]:
        """The events that arrive within ``timeout`` seconds; returns sooner if all workers have answered."""
        answered, _ = ray.wait(list(self.calls.values()), num_returns=len(self.calls), timeout=timeout)
        events: list[Event] = []
        for worker, answer in list(self.calls.items()):
            if answer in answered:
                # a worker that is gone is not asked again: Ray Train sees its end too, and ends the attempt
                with contextlib.suppress(RayError):
                    events += ray.get(answer)
                    del self.calls[worker]
        return events


class Mailbox:
    """Collects events from the workers of the current attempt, and gives them their orders.

    `serve` and `request_save` are called by Ray Train in another thread; everything else from one thread.
    """

    def __init__(self) -> None:
        self._attempts: list[Attempt] = []
        self._group = WorkerGroup()
        self._data_ready = self._save = self._stop = False

    def serve(self, workers: Sequence[Any]) -> None:
        """A new attempt: from now on the workers are these, given by the handles of their actors."""
        # a request to save was meant for the previous workers
        self._group, self._save = WorkerGroup(workers), False

    def collect(self, timeout: float) -> list[Event]:
        """The events of the workers that answer within ``timeout`` seconds."""
        group = self._group  # `serve` may replace it meanwhile; events of the old one stay with the old one
        if not group.workers:
            return []
        group.ask(self.orders())
        events = group.answers(timeout)
        for event in events:
            self.take(event, group)
        return events

    def orders(self) -> Orders:
        """The orders for the workers of the current attempt."""
        return Orders(self._data_ready, self.final_failure(), self._group.start_step, self._save, self._stop)

    def take(self, event: Event, group: WorkerGroup) -> None:
        """Record what an event says about the attempt of ``group``."""
        if isinstance(event, AttemptStarted):
            self._attempts.append(Attempt(event.step))
            group.start_step = event.step
        elif isinstance(event, ReadyToResize):
            self._save = False  # `has_saved` is now true, and Ray Train replaces the workers
        elif isinstance(event, Step) and self._attempts:
            self._attempts[-1].step = event.done
        elif isinstance(event, Failure) and self._attempts and self._attempts[-1].failure is None:
            self._attempts[-1].failure = event

    def final_failure(self) -> Failure | None:
        """The failure of the last attempt if another would only repeat it: a fatal one, or the same one twice without
        progress in between."""
        # an attempt that was resized, or whose worker was killed, has no failure and cannot be repeated
        failures = [attempt for attempt in self._attempts[-2:] if attempt.failure is not None]
        last = failures[-1].failure if failures and failures[-1] is self._attempts[-1] else None
        if last is None or last.fatal:
            return last
        return last if len(failures) == 2 and failures[0].ended_as(failures[1]) else None

    def set_data_ready(self) -> None:
        """The data is prepared: workers may begin."""
        self._data_ready = True

    def request_save(self) -> None:
        """Order workers to save before their number changes; `has_saved` tells when they have."""
        self._save = True

    @property
    def has_saved(self) -> bool:
        return not self._save

    def request_stop(self) -> None:
        """Order workers to save and end."""
        self._stop = True
