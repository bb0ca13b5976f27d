# SPDX-License-Identifier: Apache-2.0
"""Private interfaces of Ray Train that are used here, as of Ray 2.60.0, and whether the installed Ray has them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

MADE_FOR = "2.60.0"
_V2 = "ray.train.v2"
_EXECUTION = f"{_V2}._internal.execution"
USED: dict[str, dict[str, set[str]]] = {
    f"{_V2}.torch.torch_trainer:TorchTrainer": {
        "_create_default_callbacks": {"self"},
        "_initialize_and_run_controller": {"self", "controller_init_kwargs"},
    },
    f"{_V2}._internal.callbacks:DatasetsCallback": {},
    f"{_V2}._internal.callbacks.placement_group_callback:PlacementGroupCleanerCallback": {},
    f"{_EXECUTION}.callback:WorkerGroupCallback": {"after_worker_group_start": {"self", "worker_group"}},
    f"{_EXECUTION}.controller.controller:TrainController": {
        "__init__": {
            "self",
            "train_fn_ref",
            "train_run_context",
            "scaling_policy",
            "failure_policy",
            "callbacks",
            "validation_config",
        },
        "run": {"self"},
        "get_result": {"self"},
        "get_worker_group": {"self"},
        "worker_group_cls": set(),
    },
    f"{_EXECUTION}.worker_group:WorkerGroup": {
        "abort": {"self"},
        "get_workers": {"self"},
        "_decorate_worker_log_file_paths": {"workers"},
        "_init_train_context_on_workers": {"self", "workers", "sync_actor", "train_context_args"},
        "_create_placement_group": {"self", "scaling_config", "worker_group_context"},
        "_create_workers": {
            "self",
            "num_workers",
            "placement_group",
            "resources_per_worker",
            "placement_group_bundle_indices",
            "starting_world_rank",
            "world_size",
            "replica_group_size",
        },
    },
    f"{_EXECUTION}.worker_group:RayTrainWorker": {
        "execute": {"self", "fn", "fn_args", "fn_kwargs"},
        "init_train_context": {
            "self",
            "train_run_context",
            "distributed_context",
            "synchronization_actor",
            "storage_context",
            "worker_callbacks",
            "controller_actor",
            "dataset_shard_provider",
            "has_validation_fn",
            "current_report_index",
            "checkpoint",
        },
    },
    f"{_EXECUTION}.scaling_policy:FixedScalingPolicy": {
        "after_controller_start": {"self", "train_run_context"},
        "_maybe_send_resource_request": {"self"},
    },
    f"{_EXECUTION}.scaling_policy:ElasticScalingPolicy": {
        "make_decision_for_running_worker_group": {"self", "worker_group_state", "worker_group_status"},
        "make_decision_for_non_running_worker_group": {"self"},
        "_get_reserved_resources": {"self"},
        "_get_resize_decision": {"self", "num_workers"},
        "GET_RESERVED_RESOURCES_INTERVAL_S": set(),
    },
    f"{_EXECUTION}.scaling_policy.autoscaling_coordinator_client:AUTOSCALING_REQUESTS_GET_TIMEOUT_S": {},
    f"{_EXECUTION}.context:get_train_context": {},
    f"{_V2}._internal.constants:DEFAULT_PREEMPTION_DEADLINE_S": {},
}
"""``module:name`` to its attributes, and of those that are functions the names of their parameters."""


def missing() -> str | None:
    """The first interface that is not there, or takes other parameters; None when all are as they were."""
    return next(_gaps(), None)


def _gaps() -> Iterator[str]:
    for place, attributes in USED.items():
        module, _, name = place.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            yield f"{module}.{name}"
            continue
        for attribute, parameters in attributes.items():
            member = getattr(found, attribute, None)
            if member is None or (parameters and parameters != _parameters(member)):
                yield f"{name}.{attribute}"


def _parameters(function: object) -> set[str]:
    # once an actor of a class has started in this process, Ray's tracing has added a parameter to its methods
    return set(inspect.signature(function).parameters) - {"_ray_trace_ctx"} if callable(function) else set()
