# SPDX-License-Identifier: Apache-2.0
"""What the pinned Ray makes of `compat.ray_train`: workers and nothing beside them, and nothing left behind."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.runs import Training, write_spec
from tests.ray.clusters import BIN, RayCluster

pytestmark = pytest.mark.slow


def actors_under(pid: int) -> list[str]:
    """Titles of Ray's processes that run an actor or a task."""
    titles = [" ".join(process.cmdline()) for process in psutil.Process(pid).children(recursive=True)]
    agents = ("ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::IDLE")
    return sorted(title for title in titles if title.startswith("ray::") and not title.startswith(agents))


def test_a_run_of_its_own_ray_has_no_process_of_python_beside_its_workers(tmp_path):
    training = Training(write_spec(tmp_path, "run"))
    try:
        training.wait_for_step(3)
        found = actors_under(training.process.pid)
        assert [title.partition(".")[0].strip() for title in found] == ["ray::RayTrainWorker"] * 2
        assert training.finish() == 0, training.output
    finally:
        training.kill()


def test_a_killed_driver_leaves_a_shared_cluster_all_its_room(cluster: RayCluster, tmp_path: Path):
    """Both nodes' only CPUs were taken by the killed driver's workers, and another run needs both."""
    environment = cluster.environment | {"RAY_ADDRESS": cluster.gcs_address}
    killed = Training(write_spec(tmp_path, "killed", max_steps=10_000), environment=environment)
    killed.wait_for_step(3)
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.process.wait()

    began = time.monotonic()
    done = subprocess.run(
        [str(BIN / "tadrib"), "train", str(write_spec(tmp_path, "next", max_steps=4))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    print(f"\nanother run took {time.monotonic() - began:.1f} s on the nodes of a killed driver")
