# SPDX-License-Identifier: Apache-2.0
"""Authentication: the token that Ray sends, and what to do when a cluster refuses it."""

from __future__ import annotations

import os
from pathlib import Path

from tadrib.ray_jobs.compat.ray_core import ask_for_cluster_id, send_token
from tadrib.training.config.yaml.text_file import read_bytes
from tadrib.training.errors import ClusterError, Problem

_MODE, _TOKEN, _TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_SECONDS_TO_ANSWER = 10
_MAX_BYTES = 100_000
_SET_IT = "Set RAY_AUTH_TOKEN_PATH to a file that holds the cluster's token, or RAY_AUTH_TOKEN to the token"


def use_token() -> None:
    """Make Ray send the token where there is one, unless RAY_AUTH_MODE says otherwise.

    Left alone, Ray does so only towards a cluster that it finds by itself, and as the environment was when it
    was imported.
    """
    if _MODE not in os.environ and token_source() is None:
        return
    os.environ.setdefault(_MODE, "token")
    send_token(os.environ[_MODE] == "token")


def token_source() -> str | None:
    """Where Ray takes the token from, as the user knows it; None when there is none."""
    default = Path.home() / ".ray" / "auth_token"
    if os.environ.get(_TOKEN):
        return _TOKEN
    if os.environ.get(_TOKEN_FILE):
        return f"{_TOKEN_FILE}={os.environ[_TOKEN_FILE]}"
    return str(default) if default.is_file() else None


def refused(where: str) -> ClusterError:
    """The error for a cluster, named ``where`` as the user typed it, that wants another token or any."""
    source, mode = token_source(), os.environ.get(_MODE, "")
    is_http = where.startswith("http")
    none, wrong = (" (HTTP 401)", " (HTTP 403)") if is_http else ("", "")
    if mode and mode != "token":
        message = f"asks for a token{none}, and {_MODE}={mode} keeps Ray from sending one."
        action = f"Set {_MODE}=token. {_SET_IT}."
    elif source is None:
        message, action = f"asks for a token{none}, and there is none.", f"{_SET_IT}."
    elif source.startswith(f"{_TOKEN_FILE}=") and not _has_text(os.environ[_TOKEN_FILE]):
        message, action = f"asks for a token, and {source} cannot be read or is empty.", f"{_SET_IT}."
    else:
        message = f"does not accept the token of {source}{wrong}."
        action = f"{_SET_IT}; `ray get-auth-token` on the cluster's head prints it."
    return ClusterError("the Ray cluster refused us", [Problem(where, message, action)])


def require_accepted(address: str, where: str) -> None:
    """Ask the Ray at ``address`` (host:port) whether our token is good; Ray itself tries for 20 seconds and
    then says that it cannot connect.

    Raises ClusterError when it is not. Any other trouble is left to Ray.
    """
    import grpc
    from ray.exceptions import AuthenticationError

    try:
        ask_for_cluster_id(address, _SECONDS_TO_ANSWER)
    except AuthenticationError as error:
        raise refused(where) from error
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise refused(where) from error


def _has_text(file: str) -> bool:
    try:
        return bool(read_bytes(Path(file), _MAX_BYTES).decode().strip())
    except (OSError, ValueError):
        return False
