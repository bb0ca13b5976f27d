# SPDX-License-Identifier: Apache-2.0
"""Address of the Ray cluster that the environment names, and whether anything answers there."""

from __future__ import annotations

import os
import socket

from tadrib.training.errors import ClusterError, Problem

_SECONDS_TO_ANSWER = 5.0


def named() -> str | None:
    """RAY_ADDRESS where it names a cluster; None where a Ray of this machine is to be found or started."""
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in ("", "local", "auto") else address


def answers(address: str) -> bool:
    """Whether something listens at ``host:port``."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, ValueError):
        return False
    return True


def require_answer() -> None:
    """Find out in seconds what Ray takes ten minutes to say. Raises ClusterError when RAY_ADDRESS does not answer."""
    address = named()
    if address is not None and not answers(address):
        raise unreachable(address, "ConnectionError: nothing answers there.")


def unreachable(address: str, message: str) -> ClusterError:
    """The error for a cluster at ``address``, "auto" for the Ray of this machine, that could not be joined."""
    where = "the Ray of this machine" if address == "auto" else f"RAY_ADDRESS={address}"
    if "ersion mismatch" in message:
        action = (
            "Use the Python and the Ray of the cluster, best its image, or let `tadrib submit` run there."
        )
    elif address == "auto":
        action = "End it with `ray stop`, or set RAY_ADDRESS=local to start one for this run alone."
    else:
        action = "Check the address, or unset RAY_ADDRESS to train on this machine."
    return ClusterError("the Ray cluster cannot be reached", [Problem(where, message, action)])
