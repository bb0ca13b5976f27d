# SPDX-License-Identifier: Apache-2.0
"""Post office: an actor through which workers and driver exchange events and orders where no driver can visit workers.

Ray Train's public trainer keeps its workers to itself. Here the workers come by twice a second, and the driver whenever
it would have visited them.
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

_SECONDS_BETWEEN_VISITS = 0.5

_ABORTED = Failure(StoppedError("aborted"), "StoppedError", "aborted", place="", log="", fatal=True)

Letter = tuple[str, list[Event]]
"""An attempt, and what one of its workers has to tell."""


class PostOffice:
    """Keeps letters until the driver comes, and its orders for the attempt that it knows of.

    Workers of an attempt that the driver has not heard of get no orders: those of the attempt before are not for them.
    """

    def __init__(self) -> None:
        self._letters: list[Letter] = []
        self._attempt, self._orders = "", Orders()
        self._closed = False

    def close(self) -> None:
        """The run is aborted: workers end, and those that Ray starts in their place return at once."""
        self._closed = True

    def deliver(self, attempt: str, events: list[Event]) -> Orders | None:
        """A worker's visit: leaves its events, and gets its orders or None. Raises RuntimeError when it is to end."""
        if self._closed:
            if attempt == self._attempt:
                raise RuntimeError("the run is aborted")
            return Orders(hopeless=_ABORTED)
        if events or attempt != self._attempt:
            self._letters.append((attempt, events))
        return self._orders if attempt == self._attempt else None

    def collect(self, attempt: str, orders: Orders) -> list[Letter]:
        """The driver's visit: leaves orders for ``attempt``, the last that it knows, and takes the letters."""
        letters, self._letters = self._letters, []
        self._attempt, self._orders = attempt, orders
        return letters


@contextmanager
def visiting(office: Any, link: Link) -> Iterator[None]:
    """Within, a thread carries the worker's events to ``office``, an actor's handle, and orders back.

    Where the office is closed or gone the run was aborted, and this process ends.
    """
    attempt, done = _attempt(), threading.Event()

    def go() -> None:
        import ray
        from ray.exceptions import RayError

        while not done.wait(_SECONDS_BETWEEN_VISITS):
            try:
                orders = ray.get(office.deliver.remote(attempt, link.pending()))
            except RayError:
                os._exit(1)
            link.sent(orders)

    thread = threading.Thread(target=go, name="post", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _attempt() -> str:
    """A name for this attempt that all its workers have."""
    import torch.distributed as dist

    names = [uuid.uuid4().hex]
    if dist.is_initialized():
        dist.broadcast_object_list(names, src=0)
    return names[0]
