# SPDX-License-Identifier: Apache-2.0
"""charts/ray-cluster: a run submitted to it over its dashboard, as the chart's notes say."""

from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from tests.charts.helm import CHARTS, write_values
from tests.kind.programs import Cluster, wait
from tests.kind.run import left
from tests.kind.settings import CPU, OWN, PRESET_STEPS, WORKER_MEMORY, long_spec, platform

pytestmark = pytest.mark.cluster

NAME = f"{OWN}-shared"
MOUNT = "/mnt/tadrib"


@pytest.fixture
def shared(cluster: Cluster, volume, tmp_path) -> Iterator[str]:
    """The URL of a shared cluster's dashboard, and its token in the environment of the commands."""
    group = {"min": 1, "max": 1, "cpu": f"{CPU:g}", "memory": WORKER_MEMORY}
    settings = platform(cluster.operator_namespace)
    shared = {key: settings[key] for key in ("image", "head", "storage", "networkPolicy")}
    values = {"workerGroups": {"cpu": group}, "platform": shared}
    path = write_values(values, tmp_path)
    cluster.helm("install", NAME, str(CHARTS / "ray-cluster"), "--values", str(path))
    try:
        wait("a shared cluster with its worker", lambda: _ready(cluster))
        secret = cluster.objects("secrets", f"--field-selector=metadata.name={NAME}")[0]["data"]
        token = base64.b64decode(secret["auth_token"]).decode()
        cluster.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        with _forwarded(cluster) as url:
            yield url
    finally:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
            cluster.environment.pop(name, None)
        cluster.helm("uninstall", NAME, "--ignore-not-found")
        wait(lambda: f"end of {left(cluster, NAME)}", lambda: not left(cluster, NAME), 300)


def _ready(cluster: Cluster) -> bool:
    found = cluster.objects("rayclusters", f"--field-selector=metadata.name={NAME}")
    status = found[0].get("status") or {} if found else {}
    return status.get("state") == "ready" and status.get("readyWorkerReplicas") == 1


@contextlib.contextmanager
def _forwarded(cluster: Cluster) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ("port-forward", f"service/{NAME}-head-svc", f"{port}:8265")
    with cluster.keep(*words) as process:
        wait("an open port", lambda: _answers(port, process), 60)
        yield f"http://127.0.0.1:{port}"


def _answers(port: int, process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, "kubectl port-forward ended"
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
        return True
    return False


def test_a_run_is_submitted_to_a_shared_cluster_and_a_wrong_token_is_refused(
    cluster, shared, volume, tmp_path
):
    given = long_spec(f"{OWN}-on-shared") | {"max_steps": PRESET_STEPS, "save_steps": PRESET_STEPS}
    given |= {key: f"{MOUNT}/{given[key]}" for key in ("model_name", "dataset_path", "storage_path")}
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(given))

    printed = cluster.tadrib("submit", str(spec), "--address", shared)

    assert f"step {PRESET_STEPS}" in printed
    assert '"status": "succeeded"' in volume.read(f"runs/{given['name']}/result.json")
    cluster.environment["RAY_AUTH_TOKEN"] = "0" * 64
    assert "token" in cluster.tadrib("submit", str(spec), "--address", shared, code=3)
