# SPDX-License-Identifier: Apache-2.0
"""The Ray cluster of a run: joined or started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tadrib.ray_jobs.address import answers, unreachable
from tadrib.ray_jobs.authentication import require_accepted, use_token
from tadrib.ray_jobs.compat.ray_core import address_here
from tadrib.ray_jobs.driver.capacity import require_room_here
from tadrib.ray_jobs.driver.local_ray import start
from tadrib.training.config import Resources
from tadrib.training.errors import ClusterError, Problem, ResourceError

_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a spec mean the same in workers
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",  # seconds after which an end or a failure is noticed
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # of a grace period that may be half a minute
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that goes on when Ray has ended must not start another
    "RAY_COLOR_PREFIX": "0",  # what Ray prints goes to a file
}


@contextmanager
def cluster(resources: Resources | None = None) -> Iterator[bool]:
    """Join the Ray at RAY_ADDRESS or the one that runs on this machine, or start one for the time inside, unless this
    machine has no room for ``resources``.

    Gives True for one that was started. A Ray that the caller has connected to already is used and left as it is.
    Raises ClusterError, or ResourceError.
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
        words = " ".join(str(error).split())  # versions that differ are said over several lines
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
    running = address_here() if address != "local" else None
    if running is not None and answers(running):
        _join(running, f"the Ray of this machine, {running},")
        return False
    if address == "auto":
        raise _none_here()
    if resources is not None:
        require_room_here(resources)
    # nobody drains a node that lives as long as the run; each process less is a second less
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    # for a dashboard, which this one has not
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    os.environ.setdefault("REPORTER_UPDATE_INTERVAL_MS", "60000")
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "1000")
    start()
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


def _none_here() -> ClusterError:
    """For a command that joins and never starts a cluster."""
    message = "no Ray runs on this machine, and RAY_ADDRESS names none."
    action = "Use `tadrib submit` to run on a cluster elsewhere, or `tadrib train` to train on this machine."
    return ClusterError("there is no Ray cluster to join", [Problem("", message, action)])
