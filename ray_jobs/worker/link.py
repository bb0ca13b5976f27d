# SPDX-License-Identifier: Apache-2.0
"""Link: a worker's end of what it and the driver have to tell each other.

The worker leaves events here and reads the driver's orders; the driver comes by every second and exchanges one for the
other. No process stands between them, and training never waits for a message.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tadrib.ray_jobs.events import Event, Failure


@dataclass(frozen=True, slots=True)
class Orders:
    """What holds for all workers of an attempt.

    ``go``: the data are ready. ``hopeless``: the failure that this attempt would only repeat. ``begin_at``: the step
    from which rank 0 has said that they go on, None until then. ``save``: others are to take the workers' place.
    ``stop``: the user asked the run to stop.
    """

    go: bool = False
    hopeless: Failure | None = None
    begin_at: int | None = None
    save: bool = False
    stop: bool = False


class Link:
    """Events out, orders in; the driver's visits come in a thread of Ray's."""

    def __init__(self) -> None:
        self._visited = threading.Condition()
        self._events: list[Event] = []
        self._orders = Orders()
        self._underway = 0

    def post(self, *events: Event) -> None:
        """Leave events for the driver's next visit."""
        with self._visited:
            self._events += events

    def exchange(self, orders: Orders) -> list[Event]:
        """The driver's visit: takes the events since the last one."""
        with self._visited:
            events, self._events = self._events, []
            self._orders = orders
            self._visited.notify_all()
        return events

    def pending(self) -> list[Event]:
        """The events since the last visit, which stay here until `sent` says that they have arrived."""
        with self._visited:
            self._underway = len(self._events)
            return self._events[:]

    def sent(self, orders: Orders | None) -> None:
        """What was `pending` has arrived; ``orders`` are the driver's, None while it does not know this attempt."""
        with self._visited:
            del self._events[: self._underway]
            self._orders = orders or self._orders
            self._visited.notify_all()

    @property
    def save_requested(self) -> bool:
        return self._orders.save

    @property
    def stop_requested(self) -> bool:
        return self._orders.stop

    def wait_to_go(self) -> Failure | None:
        """Return once the driver has prepared the data; at once, and with the failure, when there is no hope."""
        with self._visited:
            self._visited.wait_for(lambda: self._orders.go or self._orders.hopeless)
            return self._orders.hopeless

    def wait_to_begin(self) -> int:
        """The step after which all workers go on, once the driver has it from rank 0."""
        with self._visited:
            self._visited.wait_for(lambda: self._orders.begin_at is not None)
            assert self._orders.begin_at is not None
            return self._orders.begin_at

    def flush(self, timeout: float = 10.0) -> None:
        """Wait until the driver has taken everything posted, at most ``timeout`` seconds."""
        with self._visited:
            self._visited.wait_for(lambda: not self._events, timeout)


LINK = Link()
"""That of this process, which is a worker of one attempt."""


def exchange(orders: Orders) -> list[Event]:
    """Run by the driver in the worker's process."""
    return LINK.exchange(orders)
