# SPDX-License-Identifier: Apache-2.0
"""Mailbox: the Ray actor to which workers post events, and from which the driver collects them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import ray

from ray_jobs.events import Event, Failure, Started, Step

_SECONDS_BETWEEN_LOOKS = 0.2


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


class Mailbox:
    """Keeps events in the order in which they came, until the driver collects them."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._go = self._stop = False
        self._attempts: list[Attempt] = []

    def post(self, *events: Event) -> bool:
        """Add events; says whether the user asked the run to stop."""
        self._events += events
        for event in events:
            if isinstance(event, Started):
                self._attempts.append(Attempt(event.step))
            elif isinstance(event, Step) and self._attempts:
                self._attempts[-1].step = event.done
            elif isinstance(event, Failure) and self._attempts and self._attempts[-1].failure is None:
                self._attempts[-1].failure = event
        return self._stop

    def hopeless(self) -> Failure | None:
        """The failure of the last attempt, if another attempt would only repeat it."""
        failures = [attempt for attempt in self._attempts[-2:] if attempt.failure is not None]
        last = failures[-1].failure if failures and failures[-1] is self._attempts[-1] else None
        if last is None or last.fatal:
            return last
        return last if len(failures) == 2 and failures[0].ended_as(failures[1]) else None

    def collect(self) -> list[Event]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    def let_go(self) -> None:
        """The data are ready: let workers begin."""
        self._go = True

    def may_go(self) -> bool:
        return self._go

    def request_stop(self) -> None:
        """Make every further `post` say that the run is to stop."""
        self._stop = True


class Link:
    """A worker's end of the mailbox."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._last: Any = None
        self._unread: list[Any] = []
        self._stop_requested = False

    def post(self, *events: Event) -> None:
        """Send without waiting for delivery."""
        self._last = self._mailbox.post.remote(*events)
        self._unread.append(self._last)

    @property
    def stop_requested(self) -> bool:
        """As of the last post that has been answered, which takes about a millisecond; training does not wait."""
        if self._unread:
            answered, self._unread = ray.wait(self._unread, num_returns=len(self._unread), timeout=0)
            self._stop_requested = self._stop_requested or any(ray.get(answered))
        return self._stop_requested

    def wait_to_go(self) -> None:
        """Return once the driver has prepared the data."""
        while not ray.get(self._mailbox.may_go.remote()):
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def hopeless(self) -> Failure | None:
        """See `Mailbox.hopeless`."""
        return ray.get(self._mailbox.hopeless.remote())

    def flush(self, timeout: float = 10.0) -> None:
        """Wait until everything posted has arrived, at most ``timeout`` seconds."""
        if self._last is not None:
            ray.wait([self._last], timeout=timeout)
