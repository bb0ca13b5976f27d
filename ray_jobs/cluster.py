# SPDX-License-Identifier: Apache-2.0
"""The Ray cluster of a run: joined or started, and checked for room before any worker starts."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray_jobs.authentication import require_accepted, use_token
from training.config import Resources
from training.errors import ClusterError, Problem, ResourceError

_OBJECT_STORE_BYTES = 256 * 1024**2  # Ray carries little more than events; gradients go past it
_SECONDS_TO_ANSWER = 5.0
_SECONDS_BETWEEN_LOOKS = 1.0

_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a spec mean the same in workers
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # seconds after which an end or a failure is noticed
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # of a grace period that may be half a minute
    "RAY_COLOR_PREFIX": "0",  # what Ray prints goes to a file
    # said every second where there is no dashboard to ask
    "RAY_DEDUP_LOGS_SKIP_REGEX": "Failed to query Ray Train Controller actor state",
}


@contextmanager
def cluster() -> Iterator[bool]:
    """Join the Ray at RAY_ADDRESS or the one that runs on this machine, or start one for the time inside.

    Gives True for one that was started. A Ray that the caller has connected to already is used and left as it is.
    Raises ClusterError.
    """
    for variable, value in _VARIABLES.items():
        os.environ.setdefault(variable, value)
    import ray

    if ray.is_initialized():
        yield False
        return
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        is_own = _connect(address)
    except ClusterError:
        raise
    except Exception as error:
        raise _unreachable(address, error) from error
    try:
        yield is_own
    finally:
        ray.shutdown()


def _connect(address: str) -> bool:
    import ray
    from ray._private.services import find_bootstrap_address  # there is no public way to ask without joining

    if address not in ("", "local", "auto"):
        _join(address, f"RAY_ADDRESS={address}")
        return False
    running = find_bootstrap_address(None) if address != "local" else None
    if running is not None and answers(running):
        _join(running, f"the Ray of this machine, {running},")
        return False
    if address == "auto":
        raise _none_here()
    # nobody drains a node that lives as long as the run; each process less is a second less
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    ray.init(address="local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES)
    return True


def _join(address: str, where: str) -> None:
    """Connect, after finding out in seconds what Ray takes ten minutes to say.

    Raises ConnectionError when nothing answers, ClusterError when the cluster does not take our token.
    """
    import ray

    if not answers(address):
        raise ConnectionError("nothing answers there.")
    use_token()
    if "://" not in address:
        require_accepted(address, where)
    ray.init(address=address)


def answers(address: str) -> bool:
    """Whether something listens at ``host:port``."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, ValueError):
        return False
    return True


def _unreachable(address: str, error: Exception) -> ClusterError:
    words = " ".join(str(error).split())  # versions that differ are said over several lines
    message = f"{type(error).__name__}: {words[:400]}" if words else type(error).__name__
    if address in ("", "local"):
        action = "Ray's own logs are in the newest folder under /tmp/ray (or RAY_TMPDIR)."
        return ClusterError("Ray cannot be started on this machine", [Problem("", message, action)])
    if "ersion mismatch" in words:
        action = (
            "Use the Python and the Ray of the cluster, best its image, or let `tadrib submit` run there."
        )
    else:
        action = "Check the address, or unset RAY_ADDRESS to train on this machine."
    return ClusterError(
        "the Ray cluster cannot be reached", [Problem(f"RAY_ADDRESS={address}", message, action)]
    )


def _none_here() -> ClusterError:
    """For a command that joins and never starts a cluster."""
    message = "no Ray runs on this machine, and RAY_ADDRESS names none."
    action = "Use `tadrib submit` to run on a cluster elsewhere, or `tadrib train` to train on this machine."
    return ClusterError("there is no Ray cluster to join", [Problem("", message, action)])


def worker_bundle(resources: Resources) -> dict[str, float]:
    """What Ray reserves for one worker; memory in bytes."""
    bundle = {
        "CPU": resources.cpus_per_worker,
        "GPU": resources.gpus_per_worker,
        "memory": resources.memory_bytes or 0,
    }
    return {name: float(amount) for name, amount in bundle.items() if amount}


def holds_a_worker(node: dict[str, Any], resources: Resources) -> bool:
    """Whether a node, as `ray.nodes` describes it, lives and is large enough for one worker."""
    return node["Alive"] and _times(worker_bundle(resources), node["Resources"]) > 0


def check_room(resources: Resources, patience: float = 0.0) -> None:
    """Refuse a run that would wait for ever. Raises ResourceError with what was asked for, what Ray has, and
    what would fit. A cluster that can add nodes is left to Ray Train's check against the most it may have, and for
    ``patience`` seconds nodes may still join.
    """
    import ray
    from ray._private.state import state as cluster_state  # the limits of an autoscaler have no public reader

    if cluster_state.get_max_resources_from_cluster_config():
        return
    deadline = time.monotonic() + patience
    while True:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        problem = _lack_of_room(resources, nodes)
        if problem is None:
            return
        if time.monotonic() >= deadline:
            raise ResourceError("Ray has no room for this run", [problem])
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _lack_of_room(resources: Resources, nodes: list[dict[str, float]]) -> Problem | None:
    bundle = worker_bundle(resources)
    room = sum(_times(bundle, node) for node in nodes)
    if room >= resources.min_workers:
        return None
    total = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU", *bundle)}
    message = (
        f"{resources.min_workers} workers of {_text(bundle)} each were asked for; Ray has {_text(total)} on "
        f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}, room for {room}."
    )
    return Problem("resources.num_workers", message, _way_out(room, bundle, nodes))


def _times(bundle: dict[str, float], node: dict[str, float]) -> int:
    """How many bundles fit into a node."""
    return min(int(node.get(name, 0) / amount) for name, amount in bundle.items())


def _way_out(room: int, bundle: dict[str, float], nodes: list[dict[str, float]]) -> str:
    """What to change; and of a cluster of several machines, why one may be missing from it."""
    keys = {"CPU": "cpus_per_worker", "GPU": "gpus_per_worker", "memory": "memory_per_worker"}
    most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in bundle}
    lower = [
        f"resources.{keys[name]}={int(most[name])}" for name, amount in bundle.items() if most[name] < amount
    ]
    if room:
        action = f"Use resources.num_workers={room}, or a larger cluster (RAY_ADDRESS)."
    elif lower:
        action = f"The largest node allows {' '.join(lower)}."
    else:
        action = "No node has all of that free at once."
    if len(nodes) > 1 or not room:
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
