# SPDX-License-Identifier: Apache-2.0
"""Authentication: the token that Ray sends, and the error for a cluster that rejects it."""

from __future__ import annotations

import os
from pathlib import Path

from tadrib.ray_jobs.compat.ray_core import ask_for_cluster_id, send_token
from tadrib.training.config.yaml.text_file import read_bytes
from tadrib.training.errors import ClusterError, Problem

_MODE, _TOKEN, _TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_SECONDS_TO_ANSWER = 10
_MAX_BYTES = 100_000
_SET_IT = "Set RAY_AUTH_TOKEN_PATH to a file with the cluster's token, or RAY_AUTH_TOKEN to the token itself"


def use_token() -> None:
    """Make Ray send the token if one is configured, unless RAY_AUTH_MODE says otherwise.

    By default Ray sends it only to a cluster that it finds by itself, and reads the environment only when imported.
    """
    if _MODE not in os.environ and token_source() is None:
        return
    os.environ.setdefault(_MODE, "token")
    send_token(os.environ[_MODE] == "token")


def token_source() -> str | None:
    """Where Ray reads the token from: a variable or a file; None if none is configured."""
    default = Path.home() / ".ray" / "auth_token"
    if os.environ.get(_TOKEN):
        return _TOKEN
    if os.environ.get(_TOKEN_FILE):
        return f"{_TOKEN_FILE}={os.environ[_TOKEN_FILE]}"
    return str(default) if default.is_file() else None


def refusal(where: str) -> ClusterError:
    """The error for a cluster, named ``where`` as the user typed it, that requires a token or another one."""
    source, mode = token_source(), os.environ.get(_MODE, "")
    is_http = where.startswith("http")
    none, wrong = (" (HTTP 401)", " (HTTP 403)") if is_http else ("", "")
    if mode and mode != "token":
        message = f"requires a token{none}, and {_MODE}={mode} prevents Ray from sending one."
        action = f"Set {_MODE}=token. {_SET_IT}."
    elif source is None:
        message, action = f"requires a token{none}, and none is configured.", f"{_SET_IT}."
    elif source.startswith(f"{_TOKEN_FILE}=") and not _has_text(os.environ[_TOKEN_FILE]):
        message, action = f"requires a token, and {source} cannot be read or is empty.", f"{_SET_IT}."
    else:
        message = f"rejects the token of {source}{wrong}."
        action = f"{_SET_IT}; `ray get-auth-token` on the cluster's head prints it."
    return ClusterError("authentication with the Ray cluster failed", [Problem(where, message, action)])


def require_valid_token(address: str, where: str) -> None:
    """Check that the Ray at ``address`` (host:port) accepts our token. Ray itself would try for 20 seconds and then
    report that it cannot connect.

    Raises ClusterError if it does not. Other errors are left for `ray.init` to report.
    """
    import grpc
    from ray.exceptions import AuthenticationError

    try:
        ask_for_cluster_id(address, _SECONDS_TO_ANSWER)
    except AuthenticationError as error:
        raise refusal(where) from error
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise refusal(where) from error


def _has_text(file: str) -> bool:
    try:
        return bool(read_bytes(Path(file), _MAX_BYTES).decode().strip())
    except (OSError, ValueError):
        return False
