# SPDX-License-Identifier: Apache-2.0
"""Placement: workers that stand together share one bundle of the placement group, which is always on one node.

Ray Train gives each worker a bundle of its own, and packs bundles as far as nodes have room, at whatever number a node:
ray/train/v2/_internal/execution/worker_group/worker_group.py at 2.60.0.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import ray
from ray.train.v2._internal.execution.worker_group import WorkerGroup


def workers_together(train_loop_config: Any) -> int:
    """Workers of one bundle, as the job that they are handed says."""
    return train_loop_config["job"].spec.resources.workers_together


def by_node(resources: dict[str, float], together: int) -> dict[str, float]:
    """The bundle of ``together`` workers."""
    return {name: amount * together for name, amount in resources.items()}


class Workers(WorkerGroup):
    """Workers in bundles of ``workers_per_node``."""

    @property
    def _together(self) -> int:
        return workers_together(self._train_run_context.train_loop_config)

    def _create_placement_group(self, scaling_config: Any, worker_group_context: Any) -> Any:
        nodes = dataclasses.replace(
            worker_group_context,
            num_workers=worker_group_context.num_workers // self._together,
            resources_per_worker=by_node(worker_group_context.resources_per_worker, self._together),
        )
        return super()._create_placement_group(scaling_config, nodes)

    def _create_workers(self, num_workers: int, *place: Any, **settings: Any) -> list[Any]:
        """``settings`` holds the bundles where Ray replaces some workers, which it does under TorchFT alone."""
        bundles = [number // self._together for number in range(num_workers)]
        settings.setdefault("placement_group_bundle_indices", bundles)
        return super()._create_workers(num_workers, *place, **settings)

    def _init_train_context_on_workers(
        self, workers: list[Any], sync_actor: Any, train_context_args: dict[str, list[Any]]
    ) -> None:
        """As Ray's own, but with neither of the two actors to turn to; the one that is there already ends."""
        ray.kill(sync_actor)
        started = [
            worker.actor.init_train_context.remote(
                train_run_context=self._train_run_context,
                distributed_context=worker.distributed_context,
                synchronization_actor=None,
                storage_context=self._storage_context,
                worker_callbacks=self._worker_callbacks_to_propagate,
                controller_actor=None,
                **{name: values[i] for name, values in train_context_args.items()},
            )
            for i, worker in enumerate(workers)
        ]
        ray.get(started)
        self._decorate_worker_log_file_paths(workers)
