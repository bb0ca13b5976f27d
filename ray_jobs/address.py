# SPDX-License-Identifier: Apache-2.0
"""Address: the Ray cluster that RAY_ADDRESS names, and whether anything listens there."""

from __future__ import annotations

import os
import socket

from tadrib.training.errors import ClusterError, Problem

_SECONDS_TO_ANSWER = 5.0


def named() -> str | None:
    """RAY_ADDRESS if it names a cluster; None if Ray is to be found or started on this machine."""
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in ("", "local", "auto") else address


def is_listening(address: str) -> bool:
    """Whether something listens at ``host:port``."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, ValueError):
        return False
    return True


def require_reachable() -> None:
    """Check in seconds what Ray takes ten minutes to report. Raises ClusterError if nothing listens at RAY_ADDRESS."""
    address = named()
    if address is not None and not is_listening(address):
        raise unreachable(address, "ConnectionError: nothing answers there.")


def unreachable(address: str, message: str) -> ClusterError:
    """The error for a cluster that could not be joined, at ``address``; "auto" is the Ray of this machine."""
    where = "the Ray of this machine" if address == "auto" else f"RAY_ADDRESS={address}"
    if "ersion mismatch" in message:
        action = "Use the cluster's versions of Python and Ray, such as its image, or run there by `tadrib submit`."
    elif address == "auto":
        action = "End it with `ray stop`, or set RAY_ADDRESS=local to start Ray for this run alone."
    else:
        action = "Check the address, or unset RAY_ADDRESS to train on this machine."
    return ClusterError("the Ray cluster cannot be reached", [Problem(where, message, action)])
