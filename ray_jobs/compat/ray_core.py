# SPDX-License-Identifier: Apache-2.0
"""Facts and functions of Ray's core that have no public interface, as of Ray 2.60.0:
https://github.com/ray-project/ray/tree/ray-2.60.0/python/ray/_private
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def address_here() -> str | None:
    """The address (host:port) of the Ray that runs on this machine, or None. `ray.init` would join it to find out."""
    from ray._private.services import find_bootstrap_address

    return find_bootstrap_address(None)


def can_add_nodes() -> bool:
    """Whether the cluster that this process has joined has an autoscaler."""
    from ray._private.state import state

    return bool(state.get_max_resources_from_cluster_config())


def resources_here() -> dict[str, float]:
    """The resources that Ray detects on this machine: CPUs, GPUs, memory in bytes."""
    from ray._private.resource_and_label_spec import ResourceAndLabelSpec

    return ResourceAndLabelSpec().resolve(is_head=True).to_resource_dict()


def temporary_folder() -> Path:
    """The folder of Ray's sessions: ``ray`` in RAY_TMPDIR or /tmp."""
    from ray._common.utils import get_default_ray_temp_dir

    return Path(get_default_ray_temp_dir())


def send_token(wanted: bool) -> None:
    """Make Ray read RAY_AUTH_MODE again if it does not already send or omit the token as ``wanted``: it reads the
    environment only when it is imported."""
    import ray._raylet
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    if is_token_auth_enabled() != wanted:
        core: Any = ray._raylet
        core.Config.initialize("")


def ask_for_cluster_id(address: str, seconds: float) -> None:
    """The smallest request to the Ray at ``address`` (host:port), with our token.

    Raises `ray.exceptions.AuthenticationError` or `grpc.RpcError` within ``seconds``; `ray.init` tries for 20.
    """
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    messages: Any = gcs_service_pb2
    channel = init_grpc_channel(address)
    try:
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        stub.GetClusterId(messages.GetClusterIdRequest(), timeout=seconds)
    finally:
        channel.close()
