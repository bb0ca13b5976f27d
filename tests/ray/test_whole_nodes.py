# SPDX-License-Identifier: Apache-2.0
"""Workers that stand together: placed by whole nodes, counted by whole nodes, and training as they do elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.train import ScalingConfig
from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ResizeDecision

from tadrib.ray_jobs.compat.ray_elastic import Elastic
from tests.faults.runs import Training, workers_of, write_spec
from tests.ray.clusters import RayCluster


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayCluster]:
    """A head that takes no worker, and two nodes with room for three, as which Ray by itself fills one first."""
    cluster = RayCluster()
    try:
        cluster.start()
        cluster.add_node(cpus=3)
        cluster.add_node(cpus=3)
        yield cluster
    finally:
        cluster.remove()


def trained(folder: Path, nodes: RayCluster, together: int) -> tuple[list[int], list[dict]]:
    """Workers on each node during a run of four, the fewer first, and the rows of its metrics."""
    resources = {"num_workers": 4, "workers_per_node": together, "cpus_per_worker": 1}
    spec = write_spec(folder, f"by-{together}", max_steps=6, save_steps=6, resources=resources)
    environment = {**nodes.environment, "RAY_ADDRESS": nodes.gcs_address, "TADRIB_SCRATCH": str(folder)}
    training = Training(spec, environment=environment)
    training.wait_for_step(1)
    counts = sorted(len(workers_of(pid)) for pid in nodes.pids[1:])
    assert training.finish() == 0, training.output
    result = json.loads((training.run.path / "result.json").read_text())
    assert (result["status"], result["num_workers"]) == ("succeeded", 4)
    return counts, training.rows()


@pytest.mark.slow
def test_two_nodes_train_two_workers_each_as_four_of_any_node_do(tmp_path, nodes):
    apart, expected = trained(tmp_path, nodes, together=1)
    together, found = trained(tmp_path, nodes, together=2)

    assert apart == [1, 3]
    assert together == [2, 2]
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5, 6]
    for key in ("loss", "grad_norm", "num_tokens"):
        assert [row[key] for row in found] == pytest.approx([row[key] for row in expected], rel=1e-6)


class OnNodes(Elastic):
    """Decides by nodes that a test gives, without a Ray."""

    def __init__(self, cpus: list[int], most: int, together: int) -> None:
        scaling = ScalingConfig(
            num_workers=(together, most),
            resources_per_worker={"CPU": 1.0},
            elastic_resize_monitor_interval_s=0,
        )
        super().__init__(scaling, self, together)
        self.cpus, self.has_saved = cpus, True

    def request_save(self) -> None: ...

    def _maybe_send_resource_request(self) -> None: ...

    def _get_reserved_resources(self) -> dict[str, dict[str, float]]:
        return {f"node-{number}": {"CPU": float(cpus)} for number, cpus in enumerate(self.cpus)}


@pytest.mark.parametrize(
    ("cpus", "most", "together", "workers"),
    [([3, 5], 8, 1, 8), ([3, 5], 8, 2, 6), ([3, 5], 8, 4, 4), ([8, 8], 16, 8, 16), ([8, 7], 16, 8, 8)],
)
def test_an_elastic_run_has_workers_by_whole_nodes(cpus, most, together, workers):
    decision = OnNodes(cpus, most, together).make_decision_for_non_running_worker_group()

    assert decision == ResizeDecision(num_workers=workers, resources_per_worker={"CPU": 1.0})


def test_an_elastic_run_waits_for_a_whole_node():
    decision = OnNodes([3, 3], 8, 4).make_decision_for_non_running_worker_group()

    assert isinstance(decision, NoopDecision)
