# SPDX-License-Identifier: Apache-2.0
"""Event relay: an actor through which workers and driver exchange events and orders under Ray Train's public trainer.

That trainer does not give out the handles of its workers, so the driver cannot call them. Instead both call the relay:
workers twice a second, and the driver whenever it would have polled them. See `ray_jobs.worker.link` for the other way.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tadrib.ray_jobs.events import Event, Failure
from tadrib.ray_jobs.worker.link import Link, Orders
from tadrib.training.errors import StoppedError

_SECONDS_BETWEEN_POLLS = 0.5

_ABORTED = Failure(StoppedError("aborted"), "StoppedError", "aborted", place="", log="", fatal=True)

Message = tuple[str, list[Event]]
"""The id of an attempt, and events of one of its workers."""


class EventRelay:
    """Keeps workers' messages until the driver pulls them, and the driver's orders for the attempt it knows.

    Workers of an attempt that the driver does not know yet get no orders: those here are for the previous attempt.
    """

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._attempt, self._orders = "", Orders()
        self._closed = False

    def close(self) -> None:
        """Abort the run: workers end, and those that Ray starts in their place return at once."""
        self._closed = True

    def push(self, attempt: str, events: list[Event]) -> Orders | None:
        """Called by a worker: pass on its events and return its orders, if any. Raises RuntimeError if it must end."""
        if self._closed:
            # an attempt that Ray starts after the abort must not fail, or Ray would start yet another
            if attempt == self._attempt:
                raise RuntimeError("the run is aborted")
            return Orders(final_failure=_ABORTED)
        # the first message of an attempt tells the driver its id, even without events
        if events or attempt != self._attempt:
            self._messages.append((attempt, events))
        return self._orders if attempt == self._attempt else None

    def pull(self, attempt: str, orders: Orders) -> list[Message]:
        """Called by the driver: set the orders of ``attempt``, the newest that it knows, and return the messages."""
        messages, self._messages = self._messages, []
        self._attempt, self._orders = attempt, orders
        return messages


@contextmanager
def relaying(relay: Any, link: Link) -> Iterator[None]:
    """Within the context, a thread exchanges the worker's events for orders with ``relay``, an actor's handle.

    The process ends if the relay is closed or gone: the run was aborted.
    """
    attempt, done = _attempt_id(), threading.Event()

    def exchange() -> None:
        import ray
        from ray.exceptions import RayError

        while not done.wait(_SECONDS_BETWEEN_POLLS):
            try:
                orders = ray.get(relay.push.remote(attempt, link.pending()))
            except RayError:
                os._exit(1)  # the main thread may be in a collective that never returns
            link.sent(orders)

    thread = threading.Thread(target=exchange, name="relay", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # every event was flushed by now; nothing may be posted after the worker has returned
        done.set()
        thread.join()


def _attempt_id() -> str:
    """A random id, the same in all workers of this attempt: that of rank 0."""
    import torch.distributed as dist

    names = [uuid.uuid4().hex]
    if dist.is_initialized():
        dist.broadcast_object_list(names, src=0)
    return names[0]
