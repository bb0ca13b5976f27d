# SPDX-License-Identifier: Apache-2.0
"""Link: a worker's end of its exchange with the driver.

The worker posts events here and reads the driver's orders. The driver polls every worker about once a second: one call
of `exchange` in the worker's process sets the orders and returns the events. No other process is involved, and training
never waits for a message. An attempt begins in three steps:

1. The driver orders ``data_ready`` once the prepared rows are written.
2. Rank 0 chooses the checkpoint and posts `AttemptStarted` with its step.
3. The driver, which now knows of the attempt, orders ``start_step``; all workers load that checkpoint.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tadrib.ray_jobs.events import Event, Failure


@dataclass(frozen=True, slots=True)
class Orders:
    """The driver's orders to all workers of an attempt.

    ``data_ready``: the prepared rows can be read. ``final_failure``: another attempt would only repeat this failure, so
    workers return at once. ``start_step``: the step to continue after, None until rank 0 has chosen it. ``save``: save
    a checkpoint, as the number of workers is about to change. ``stop``: the user asked the run to stop.
    """

    data_ready: bool = False
    final_failure: Failure | None = None
    start_step: int | None = None
    save: bool = False
    stop: bool = False


class Link:
    """Events to the driver, orders from it. The driver's calls run in a thread of Ray's."""

    def __init__(self) -> None:
        self._exchanged = threading.Condition()
        self._events: list[Event] = []
        self._orders = Orders()
        self._num_pending = 0

    def post(self, *events: Event) -> None:
        """Queue events for the driver's next call."""
        with self._exchanged:
            self._events += events

    def exchange(self, orders: Orders) -> list[Event]:
        """Called by the driver: set its orders and return the events since its last call."""
        # one lock for both directions: a worker that sees an order knows that its events were taken
        with self._exchanged:
            events, self._events = self._events, []
            self._orders = orders
            self._exchanged.notify_all()
        return events

    def pending(self) -> list[Event]:
        """The events to send, which stay queued until `sent` confirms that they have arrived."""
        with self._exchanged:
            self._num_pending = len(self._events)
            return self._events[:]

    def sent(self, orders: Orders | None) -> None:
        """Confirm that the `pending` events have arrived. ``orders``: None until the driver knows of this attempt."""
        with self._exchanged:
            del self._events[: self._num_pending]
            self._orders = orders or self._orders
            self._exchanged.notify_all()

    @property
    def save_requested(self) -> bool:
        return self._orders.save

    @property
    def stop_requested(self) -> bool:
        return self._orders.stop

    def wait_for_data(self) -> Failure | None:
        """Block until the data is prepared, and return None; return the failure if another attempt cannot help."""
        with self._exchanged:
            self._exchanged.wait_for(lambda: self._orders.data_ready or self._orders.final_failure)
            return self._orders.final_failure

    def wait_for_start_step(self) -> int:
        """Block until the driver knows the step to continue after, and return it; 0 without a checkpoint."""
        with self._exchanged:
            self._exchanged.wait_for(lambda: self._orders.start_step is not None)
            assert self._orders.start_step is not None
            return self._orders.start_step

    def flush(self, timeout: float = 10.0) -> None:
        """Block until the driver has taken all posted events, for at most ``timeout`` seconds."""
        with self._exchanged:
            self._exchanged.wait_for(lambda: not self._events, timeout)


LINK = Link()
"""The link of this process: Ray starts new processes for every attempt, so there is never a second one."""


def exchange(orders: Orders) -> list[Event]:
    """What the driver calls, through Ray, in the worker's process."""
    return LINK.exchange(orders)
