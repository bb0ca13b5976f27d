# SPDX-License-Identifier: Apache-2.0
"""Capacity: whether the pods of a run fit on the nodes, now or ever, by allocatable resources and requests.

The scheduler considers more (affinity, topology, device claims). This checks readiness, cordons, taints, node selectors
and requests, and places the largest pods first.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tadrib.ray_jobs.kube.api import KubernetesApi
from tadrib.ray_jobs.kube.doctor.checks import Check, fail, ok, warn
from tadrib.ray_jobs.kube.doctor.nodes import Amounts, Node, may_run, nodes_of, what_grows
from tadrib.ray_jobs.kube.status.scheduling import amount, requests_of
from tadrib.ray_jobs.kube.status.trouble import LABEL, workers_in
from tadrib.ray_jobs.kube.status.units import quantity
from tadrib.training.config.rules.job import most_together

Object = dict[str, Any]


def capacity_checks(api: KubernetesApi, groups: list[tuple[Object, int]]) -> Iterator[Check]:
    """One check for the head and one for each group of workers."""
    nodes = nodes_of(api.list("/api/v1/nodes"), api.list("/api/v1/pods"))
    grows = what_grows(api)
    ordered = sorted(enumerate(groups), key=lambda each: each[0] == 0)  # workers first: they are the larger
    found = {
        position: _place(template, count, nodes, position, grows) for position, (template, count) in ordered
    }
    yield from (found[position] for position in range(len(groups)))
    yield from (check for template, count in groups[1:] for check in _torn_apart(template, count, nodes))


def _place(template: Object, count: int, nodes: list[Node], position: int, grows: str) -> Check:
    spec = template["spec"]
    wanted = {resource: quantity(number) for resource, number in {**requests_of(spec), "pods": "1"}.items()}
    name = _what(template, count, position)
    allowed = [node for node in nodes if may_run(spec, node.thing)]
    if not allowed:
        said = f"none of {len(nodes)} ready nodes matches its nodeSelector and tolerations"
        return _impossible(name, said, "Check platform.gpu, platform.workers and platform.head.", grows)
    possible = sum(min(_fits(node.whole, wanted), count) for node in allowed)
    if possible < count:
        said = f"{_shortage(spec, wanted, [(n, n.whole) for n in allowed])}, even when they are empty"
        if possible:
            said = f"nodes hold {possible} of {count}, even when they are empty"
        return _impossible(name, said, _smaller(template, allowed, wanted), grows)
    placed = _take(allowed, wanted, count)
    asks = ", ".join(f"{number} {resource}" for resource, number in requests_of(spec).items())
    if placed == count:
        return ok(name, f"available now on {len(allowed)} node{'s' * (len(allowed) > 1)}, for {asks} each")
    text = (
        _shortage(spec, wanted, [(n, n.free) for n in allowed])
        if not placed
        else f"{placed} of {count} fit now"
    )
    return warn(name, text, "Pods wait until others end; with a queue, the run waits as a whole.")


def _what(template: Object, count: int, position: int) -> str:
    if position == 0:
        return "capacity for the head"
    together = workers_in(template)
    what = "worker" if together == 1 else "pod"
    return (
        f"capacity for {count} {what}{'s' if count > 1 else ''}{f' of {together} workers' * (together > 1)}"
    )


def _smaller(template: Object, nodes: list[Node], wanted: Amounts) -> str:
    """What to change where no node holds a pod, or not as many as there are."""
    together = workers_in(template)
    one = {resource: number / together for resource, number in wanted.items() if resource != "pods"}
    fitting = min(together, max(_fits(node.whole, one) for node in nodes))
    if not 0 < fitting < together:
        return "Request less in the spec's resources, or add nodes."
    most = most_together(fitting, together)
    return f"The largest node holds {fitting} of these workers: set resources.workers_per_node: {most}, or add nodes."


def _torn_apart(template: Object, count: int, nodes: list[Node]) -> Iterator[Check]:
    """Workers in pods of one GPU each, which nobody asked for, where nodes have several."""
    spec = template["spec"]
    gpus = [name for name in requests_of(spec) if name.endswith("/gpu")]
    if count == 1 or not gpus or LABEL in (template["metadata"].get("labels") or {}):
        return
    most = max((int(node.whole.get(gpus[0], 0)) for node in nodes if may_run(spec, node.thing)), default=0)
    if most > 1:
        said = f"each worker has a pod of its own, and nodes have up to {most} {gpus[0]}"
        action = f"GPUs of several pods exchange nothing over NVLink: set platform.gpu.perNode: {most}."
        yield warn("GPUs of a node", said, action)


def _take(nodes: list[Node], wanted: Amounts, count: int) -> int:
    """Place as many pods as fit, subtract what they request from the nodes, and return their number."""
    placed = 0
    for node in sorted(nodes, key=lambda node: -_fits(node.free, wanted)):
        here = min(_fits(node.free, wanted), count - placed)
        for resource, number in wanted.items():
            node.free[resource] = node.free.get(resource, Decimal(0)) - here * number
        placed += here
    return placed


def _fits(amounts: Amounts, wanted: Amounts) -> int:
    """How many pods fit."""
    numbers = [amounts.get(resource, Decimal(0)) // number for resource, number in wanted.items() if number]
    return max(0, int(min(numbers))) if numbers else 0


def _shortage(spec: Object, wanted: Amounts, available: list[tuple[Node, Amounts]]) -> str:
    """``0/3 nodes have 8 free nvidia.com/gpu``: the resource that the fewest nodes have."""
    counts = {
        resource: sum(amounts.get(resource, Decimal(0)) >= number for _, amounts in available)
        for resource, number in wanted.items()
    }
    resource = min(counts, key=lambda each: (counts[each], "/" not in each))
    asked = amount(resource, {**requests_of(spec), "pods": "1"})
    return f"{counts[resource]}/{len(available)} nodes have {asked}"


def _impossible(name: str, said: str, action: str, grows: str) -> Check:
    if grows:
        return warn(name, said, f"{grows} may add nodes; otherwise the run never starts. {action}")
    return fail(name, said, action)
