# SPDX-License-Identifier: Apache-2.0
"""Room: what one worker takes of a node, and whether a cluster has that for as many as a run needs."""

from __future__ import annotations

from typing import Any

from tadrib.ray_jobs.compat.ray_core import can_add_nodes, resources_here
from tadrib.training.config import Resources
from tadrib.training.config.rules.job import most_together
from tadrib.training.errors import Problem, ResourceError
from tadrib.training.waiting import wait_until

_SECONDS_BETWEEN_LOOKS = 1.0


def worker_bundle(resources: Resources) -> dict[str, float]:
    """What Ray reserves for one worker; memory in bytes."""
    bundle = {
        "CPU": resources.cpus_per_worker,
        "GPU": resources.gpus_per_worker,
        "memory": resources.memory_bytes or 0,
    }
    return {name: float(amount) for name, amount in bundle.items() if amount}


def holds_workers(node: dict[str, Any], resources: Resources) -> bool:
    """Whether a node, as `ray.nodes` describes it, lives and is large enough for the workers that stand together."""
    return node["Alive"] and _workers_on(node["Resources"], resources) > 0


def _workers_on(node: dict[str, float], resources: Resources) -> int:
    """Workers that a node has room for, by as many as stand together."""
    return _times(worker_bundle(resources), node) // resources.workers_together * resources.workers_together


def check_room(resources: Resources, *, joined: bool, patience: float = 0.0) -> None:
    """Refuse a run that would wait for ever. Raises ResourceError with what was asked for, what Ray has, and
    what would fit. A cluster that can add nodes is left to Ray Train's check against the most it may have, and for
    ``patience`` seconds nodes may still join. ``joined`` tells a cluster of others from one of the run's own.
    """
    import ray

    if can_add_nodes():
        return

    def lack() -> Problem | None:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return lack_of_room(resources, nodes, joined=joined)

    problem = wait_until(
        lack, lambda problem: problem is None, timeout=patience, every=_SECONDS_BETWEEN_LOOKS
    )
    if problem is not None:
        raise ResourceError("Ray has no room for this run", [problem])


def require_room_here(resources: Resources) -> None:
    """Refuse a run that a Ray of this machine would have no room for, before one is started. Raises ResourceError."""
    if problem := lack_of_room(resources, [resources_here()], joined=False):
        raise ResourceError("Ray has no room for this run", [problem])


def lack_of_room(resources: Resources, nodes: list[dict[str, float]], *, joined: bool) -> Problem | None:
    """None where the nodes, each by its resources, hold the fewest workers that the run can do with."""
    bundle, together = worker_bundle(resources), resources.workers_together
    room = sum(_workers_on(node, resources) for node in nodes)
    if room >= resources.min_workers:
        return None
    total = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU", *bundle)}
    workers = resources.min_workers
    each = (
        f"{workers} workers of {_text(bundle)} each{f', {together} on a node,' * (together > 1)} were"
        if workers > 1
        else f"a worker of {_text(bundle)} was"
    )
    message = (
        f"{each} asked for; Ray has {_text(total)} on "
        f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}, room for {room}."
    )
    return Problem("resources.num_workers", message, _way_out(room, resources, nodes, joined))


def _times(bundle: dict[str, float], node: dict[str, float]) -> int:
    """How many bundles fit into a node."""
    return min(int(node.get(name, 0) / amount) for name, amount in bundle.items())


def _way_out(room: int, resources: Resources, nodes: list[dict[str, float]], joined: bool) -> str:
    """What to change; and of a cluster that was joined, why a node may be missing from it."""
    bundle = worker_bundle(resources)
    one_node = max((_times(bundle, node) for node in nodes), default=0)
    keys = {"CPU": "cpus_per_worker", "GPU": "gpus_per_worker", "memory": "memory_per_worker"}
    most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in bundle}
    lower = [
        f"resources.{keys[name]}={int(most[name])}" for name, amount in bundle.items() if most[name] < amount
    ]
    if room:
        action = f"Use resources.num_workers={room}, or a larger cluster (RAY_ADDRESS)."
    elif one_node:
        together = most_together(one_node, resources.min_workers, resources.max_workers)
        action = f"Use resources.workers_per_node={together}: no node has room for more workers."
    elif most.get("CPU") == 0:
        action = "No node has any CPU for workers: use another cluster (RAY_ADDRESS)."
    elif lower:
        action = f"The largest node allows {' '.join(lower)}."
    else:
        action = "No node has all of that free at once."
    if joined:
        action += (
            " A node whose `ray start` refused (its port taken, another Ray or Python version, another token) is not "
            "among them; what it printed says why."
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
