# SPDX-License-Identifier: Apache-2.0
"""Ray Train with its controller in the driver's own process, and without the actors that a run has no use for.

Each actor is a process that takes a second or more of CPU to start, and then wakes up a hundred times a second beside
workers that wait for each other. A run needs neither Ray datasets, nor Ray's synchronisation actor, nor requests to the
controller. Ray has no public option to leave them out; what is overridden here is in
https://github.com/ray-project/ray/tree/ray-2.60.0/python/ray/train/v2. `ray_interfaces.missing` tells whether the
installed Ray has these interfaces; if not, `tadrib.ray_jobs.driver.public_training` is used instead.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

from ray.train import Result
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import RayTrainCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2.torch.torch_trainer import TorchTrainer

from tadrib.ray_jobs.compat.ray_elastic import Elastic, Saving
from tadrib.ray_jobs.compat.ray_placement import Workers, workers_together

_NOT_NEEDED = (DatasetsCallback, PlacementGroupCleanerCallback)
"""The second frees the placement group of a controller that died; that of a driver is freed by Ray when it ends."""


class Serving(Saving, Protocol):
    """Receives the handles of the workers' actors at the start of each attempt."""

    def serve(self, workers: Sequence[Any]) -> None: ...


class Training(TorchTrainer):
    """`fit` runs the control loop in the thread that calls it; ``mailbox`` serves the workers of each attempt."""

    def __init__(self, *args: Any, mailbox: Serving, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._mailbox = mailbox
        self._loop = asyncio.new_event_loop()

    def abort(self) -> None:
        """End the workers, and make `fit` raise CancelledError; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: `fit` has returned
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        callbacks = super()._create_default_callbacks()
        return [_Served(self._mailbox), *(c for c in callbacks if not isinstance(c, _NOT_NEEDED))]

    def _initialize_and_run_controller(self, **settings: Any) -> Result:
        given = settings["scaling_policy"]
        if isinstance(given, FixedScalingPolicy):
            settings["scaling_policy"] = _Fixed(given.scaling_config)
        elif isinstance(given, ElasticScalingPolicy):
            together = workers_together(self.train_loop_config)
            settings["scaling_policy"] = Elastic(given.scaling_config, self._mailbox, together)
        controller = _Controller(**settings)
        try:
            self._loop.run_until_complete(controller.run())
        except asyncio.CancelledError:
            if group := controller.get_worker_group():
                group.abort()
            raise
        finally:
            self._loop.close()
        return controller.get_result()


class _Served(WorkerGroupCallback):
    def __init__(self, mailbox: Serving) -> None:
        self._mailbox = mailbox

    def after_worker_group_start(self, worker_group: WorkerGroup) -> None:
        self._mailbox.serve([worker.actor for worker in worker_group.get_workers()])


class _Fixed(FixedScalingPolicy):
    """Requests nodes from an autoscaler only through the placement group, which exists as long as the workers.

    Ray's own policy also requests them through an actor that divides a cluster between training and datasets.
    """

    def after_controller_start(self, train_run_context: Any) -> None: ...

    def _maybe_send_resource_request(self) -> None: ...


class _Controller(TrainController):
    worker_group_cls = Workers
