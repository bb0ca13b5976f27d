# SPDX-License-Identifier: Apache-2.0
"""Training through Ray Train's public interface alone, for a Ray that lacks the private ones `compat` uses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tadrib.ray_jobs.compat.ray_interfaces import MADE_FOR
from tadrib.ray_jobs.driver.mailbox import Mailbox
from tadrib.ray_jobs.events import Event
from tadrib.ray_jobs.worker.event_relay import EventRelay


class RelayMailbox(Mailbox):
    """A mailbox that exchanges events and orders with workers through ``relay``, an actor on the driver's node."""

    def __init__(self) -> None:
        super().__init__()
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor: Any = ray.remote(EventRelay)
        self.relay = actor.options(num_cpus=0, scheduling_strategy=here).remote()
        self._attempt = ""
        self._pending: Any = None

    def collect(self, timeout: float) -> list[Event]:
        # one call at a time: an answer that is late belongs to the next `collect`
        self._pending = self._pending or self.relay.pull.remote(self._attempt, self.orders())
        answered, _ = ray.wait([self._pending], timeout=timeout)
        if not answered:
            return []
        answer, self._pending = self._pending, None
        with contextlib.suppress(RayError):  # the relay is closed: `fit` is about to end
            return self._read(ray.get(answer))
        return []

    def _read(self, messages: list[tuple[str, list[Event]]]) -> list[Event]:
        found: list[Event] = []
        for attempt, events in messages:
            # the first message with another id is how a new attempt shows, as no callback reports it here
            if attempt != self._attempt:
                self._attempt = attempt
                self.serve(())
            for event in events:
                self.take(event, self._group)
            found += events
        return found

    def close(self) -> None:
        """End the workers; from any thread."""
        with contextlib.suppress(RayError):
            self.relay.close.remote()


class PublicTraining:
    """`fit` blocks until Ray Train's controller, which is a process of its own, has finished."""

    def __init__(
        self,
        loop: Callable[..., Any],
        *,
        mailbox: RelayMailbox,
        train_loop_config: dict[str, Any],
        **settings: Any,
    ) -> None:
        self._mailbox = mailbox
        config = {**train_loop_config, "relay": mailbox.relay}
        self._trainer: Any = TorchTrainer(loop, train_loop_config=config, **settings)

    def fit(self) -> Any:
        return self._trainer.fit()

    def abort(self) -> None:
        """End the workers, a few seconds later, when Ray has noticed; from any thread."""
        self._mailbox.close()


def notice(missing: str) -> str:
    """The warning for a run that uses the public trainer because Ray lacks ``missing``."""
    return (
        f"ray: version {ray.__version__} has no {missing} as version {MADE_FOR} has it, so the run uses Ray Train's"
        " public trainer: it needs two more processes, an elastic run returns to its last checkpoint when it is"
        " resized, no checkpoint is saved before a node is preempted, and resources.workers_per_node only holds if no"
        f" node fits more. To have these, install ray=={MADE_FOR} on all nodes."
    )
