# SPDX-License-Identifier: Apache-2.0
"""The Ray cluster of a run: joined or started."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ray_jobs.authentication import require_accepted, use_token
from training.errors import ClusterError, Problem

_OBJECT_STORE_BYTES = 256 * 1024**2  # Ray carries little more than events; gradients go past it
_SECONDS_TO_ANSWER = 5.0

_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a spec mean the same in workers
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",  # seconds after which an end or a failure is noticed
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # of a grace period that may be half a minute
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that goes on when Ray has ended must not start another
    "RAY_COLOR_PREFIX": "0",  # what Ray prints goes to a file
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
    # for a dashboard, which this one has not
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    os.environ.setdefault("REPORTER_UPDATE_INTERVAL_MS", "60000")
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "1000")
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
