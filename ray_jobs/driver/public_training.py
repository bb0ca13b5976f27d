# SPDX-License-Identifier: Apache-2.0
"""Training by Ray Train's public interface alone, for a Ray whose private ones are others than those of `compat`."""

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
from tadrib.ray_jobs.worker.post_office import PostOffice


class OfficeMailbox(Mailbox):
    """A mailbox whose workers come to an actor beside the driver, ``office``, instead of being visited."""

    def __init__(self) -> None:
        super().__init__()
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor: Any = ray.remote(PostOffice)
        self.office = actor.options(num_cpus=0, scheduling_strategy=here).remote()
        self._attempt = ""
        self._owed: Any = None

    def collect(self, timeout: float) -> list[Event]:
        self._owed = self._owed or self.office.collect.remote(self._attempt, self.orders())
        answered, _ = ray.wait([self._owed], timeout=timeout)
        if not answered:
            return []
        answer, self._owed = self._owed, None
        with contextlib.suppress(RayError):  # the office is closed: `fit` is about to end
            return self._read(ray.get(answer))
        return []

    def _read(self, letters: list[tuple[str, list[Event]]]) -> list[Event]:
        found: list[Event] = []
        for attempt, events in letters:
            if attempt != self._attempt:
                self._attempt = attempt
                self.serve(())
            for event in events:
                self.take(event, self._group)
            found += events
        return found

    def close(self) -> None:
        """Have the workers end; from any thread."""
        with contextlib.suppress(RayError):
            self.office.close.remote()


class PublicTraining:
    """`fit` waits for Ray Train's controller, a process of its own."""

    def __init__(
        self,
        loop: Callable[..., Any],
        *,
        mailbox: OfficeMailbox,
        train_loop_config: dict[str, Any],
        **settings: Any,
    ) -> None:
        self._mailbox = mailbox
        config = {**train_loop_config, "office": mailbox.office}
        self._trainer: Any = TorchTrainer(loop, train_loop_config=config, **settings)

    def fit(self) -> Any:
        return self._trainer.fit()

    def abort(self) -> None:
        """End the workers, within the seconds that Ray takes to notice; from any thread."""
        self._mailbox.close()


def notice(missing: str) -> str:
    """What the user is told of a run that takes this path, as Ray lacks ``missing``."""
    return (
        f"ray: version {ray.__version__} has no {missing} as version {MADE_FOR} has it, so the run uses Ray Train's"
        " public trainer: two processes more, an elastic run goes back to its last checkpoint when it is resized, no"
        " checkpoint is saved as a node is about to go, and resources.workers_per_node is kept only where nodes have no"
        f" room for more. Install ray=={MADE_FOR} everywhere to have these."
    )
