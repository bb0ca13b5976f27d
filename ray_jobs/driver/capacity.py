# SPDX-License-Identifier: Apache-2.0
"""Capacity: the resources that Ray reserves for a worker, and whether a cluster has them for all workers of a run."""

from __future__ import annotations

from typing import Any

from tadrib.ray_jobs.compat.ray_core import can_add_nodes, resources_here
from tadrib.training.config import Resources
from tadrib.training.config.rules.job import most_together
from tadrib.training.errors import Problem, ResourceError
from tadrib.training.waiting import wait_until

_SECONDS_BETWEEN_POLLS = 1.0
_TITLE = "Ray does not have the resources for this run"


def worker_bundle(resources: Resources) -> dict[str, float]:
    """The resources that Ray reserves for one worker; memory in bytes."""
    bundle = {
        "CPU": resources.cpus_per_worker,
        "GPU": resources.gpus_per_worker,
        "memory": resources.memory_bytes or 0,
    }
    return {name: float(amount) for name, amount in bundle.items() if amount}


def holds_workers(node: dict[str, Any], resources: Resources) -> bool:
    """Whether a node, as `ray.nodes` describes it, is alive and is large enough for workers that share a node."""
    return node["Alive"] and _workers_on(node["Resources"], resources) > 0


def _workers_on(node: dict[str, float], resources: Resources) -> int:
    """Workers that fit on a node, in multiples of those that share one."""
    return _times(worker_bundle(resources), node) // resources.workers_together * resources.workers_together


def require_capacity(resources: Resources, *, joined: bool, timeout: float = 0.0) -> None:
    """Refuse a run that would wait forever. Raises ResourceError with what was requested, what Ray has, and what fits.

    On a cluster with an autoscaler, Ray Train checks the request against the limits instead. Nodes may still join
    within ``timeout`` seconds. ``joined``: the cluster existed before the run.
    """
    import ray

    if can_add_nodes():
        return

    def look() -> Problem | None:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return shortage(resources, nodes, joined=joined)

    problem = wait_until(look, lambda problem: problem is None, timeout=timeout, every=_SECONDS_BETWEEN_POLLS)
    if problem is not None:
        raise ResourceError(_TITLE, [problem])


def require_local_capacity(resources: Resources) -> None:
    """Refuse a run that this machine is too small for, before Ray is started. Raises ResourceError."""
    if problem := shortage(resources, [resources_here()], joined=False):
        raise ResourceError(_TITLE, [problem])


def shortage(resources: Resources, nodes: list[dict[str, float]], *, joined: bool) -> Problem | None:
    """What is missing on ``nodes``, given by their resources; None if they fit the minimum number of workers."""
    bundle, together = worker_bundle(resources), resources.workers_together
    fitting = sum(_workers_on(node, resources) for node in nodes)
    if fitting >= resources.min_workers:
        return None
    total = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU", *bundle)}
    workers = resources.min_workers
    each = (
        f"{workers} workers of {_text(bundle)} each{f', {together} on a node,' * (together > 1)} were"
        if workers > 1
        else f"a worker of {_text(bundle)} was"
    )
    message = (
        f"{each} requested; Ray has {_text(total)} on "
        f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}, enough for {fitting}."
    )
    return Problem("resources.num_workers", message, _remedy(fitting, resources, nodes, joined))


def _times(bundle: dict[str, float], node: dict[str, float]) -> int:
    """How many bundles fit into a node."""
    return min(int(node.get(name, 0) / amount) for name, amount in bundle.items())


def _remedy(fitting: int, resources: Resources, nodes: list[dict[str, float]], joined: bool) -> str:
    """What to change and, for a cluster that was joined, why a node may be missing from it."""
    bundle = worker_bundle(resources)
    one_node = max((_times(bundle, node) for node in nodes), default=0)
    keys = {"CPU": "cpus_per_worker", "GPU": "gpus_per_worker", "memory": "memory_per_worker"}
    most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in bundle}
    lower = [
        f"resources.{keys[name]}={int(most[name])}" for name, amount in bundle.items() if most[name] < amount
    ]
    # fewer workers, then smaller workers, then what no number can fix
    if fitting:
        action = f"Use resources.num_workers={fitting}, or a larger cluster (RAY_ADDRESS)."
    elif one_node:
        together = most_together(one_node, resources.min_workers, resources.max_workers)
        action = f"Use resources.workers_per_node={together}: no node fits more workers."
    elif most.get("CPU") == 0:
        action = "No node has any CPU for workers: use another cluster (RAY_ADDRESS)."
    elif lower:
        action = f"The largest node allows {' '.join(lower)}."
    else:
        action = "No node has all of that free at once."
    if joined:
        action += (
            " A node whose `ray start` failed (port in use, another Ray or Python version, another token) is not "
            "counted; the output of that command says why."
        )
    return action


def _text(amounts: dict[str, float]) -> str:
    parts = []
    for name, amount in amounts.items():
        if name == "memory":
            parts.append(f"{amount / 1024**3:.1f} GiB memory")
        else:
            parts.append(f"{amount:g} {name}{'' if amount == 1 else 's'}")
    return ", ".join(parts)
