# SPDX-License-Identifier: Apache-2.0
"""Ray cluster: the one that a run joins, or starts on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tadrib.ray_jobs.address import is_listening, unreachable
from tadrib.ray_jobs.authentication import require_valid_token, use_token
from tadrib.ray_jobs.compat.ray_core import address_here
from tadrib.ray_jobs.driver.capacity import require_local_capacity
from tadrib.ray_jobs.driver.local_ray import start
from tadrib.training.config import Resources
from tadrib.training.errors import ClusterError, Problem, ResourceError

_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a spec mean the same in workers
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",  # until Ray notices that workers have ended or failed
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # a grace period may be as short as half a minute
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that outlives Ray must not start another
    "RAY_COLOR_PREFIX": "0",  # Ray's output goes to a file
}


@contextmanager
def cluster(resources: Resources | None = None) -> Iterator[bool]:
    """Join the Ray at RAY_ADDRESS, else the one that runs on this machine, else start one within the context.

    Yields True if Ray was started here. A Ray that the process is already connected to is used, and left running.
    Raises ClusterError, or ResourceError if this machine is too small for ``resources``.
    """
    for variable, value in _VARIABLES.items():
        os.environ.setdefault(variable, value)
    import ray

    if ray.is_initialized():
        yield False
        return
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        is_own = _connect(address, resources)
    except (ClusterError, ResourceError):
        raise
    except Exception as error:
        words = " ".join(str(error).split())  # Ray reports a version mismatch over several lines
        kind = type(error).__name__
        raise unreachable(address or "auto", f"{kind}: {words[:400]}" if words else kind) from error
    try:
        yield is_own
    finally:
        ray.shutdown()


def _connect(address: str, resources: Resources | None) -> bool:
    if address not in ("", "local", "auto"):
        _join(address, f"RAY_ADDRESS={address}")
        return False
    # a Ray that was killed leaves its address behind, so an address alone proves nothing
    running = address_here() if address != "local" else None
    if running is not None and is_listening(running):
        _join(running, f"the Ray of this machine, {running},")
        return False
    if address == "auto":
        raise _none_here()
    if resources is not None:
        require_local_capacity(resources)
    # this node lives only as long as the run, so nothing drains it; each process takes a second to start
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    # both serve the dashboard, which is not started here
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    os.environ.setdefault("REPORTER_UPDATE_INTERVAL_MS", "60000")
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "1000")
    start()
    return True


def _join(address: str, where: str) -> None:
    """Connect, after checking in seconds what Ray takes ten minutes to report.

    Raises ConnectionError if nothing listens at ``address``, ClusterError if the cluster rejects our token.
    """
    import ray

    if not is_listening(address):
        raise ConnectionError("nothing answers there.")
    use_token()
    # the check speaks to the GCS; an address with a scheme is Ray Client's
    if "://" not in address:
        require_valid_token(address, where)
    ray.init(address=address)


def _none_here() -> ClusterError:
    """The error for a command that joins a cluster and never starts one."""
    message = "no Ray is running on this machine, and RAY_ADDRESS is not set."
    action = "Use `tadrib submit` to run on a remote cluster, or `tadrib train` to train on this machine."
    return ClusterError("there is no Ray cluster to join", [Problem("", message, action)])
