# SPDX-License-Identifier: Apache-2.0
"""Queues: the labels, annotations and submission mode by which each scheduler takes a run."""

from __future__ import annotations

import pytest

from tests.charts.helm import CHARTS, JOB_VALUES, of_kind, one, render_file

QUEUES = {
    "kueue": {
        "kueue.x-k8s.io/queue-name": "tadrib",
        "kueue.x-k8s.io/priority-class": "tadrib-research",
    },
    "volcano": {
        "volcano.sh/queue-name": "research",
        "ray.io/priority-class-name": "high",
        "volcano.sh/network-topology-mode": "soft",
        "volcano.sh/network-topology-highest-tier-allowed": "2",
    },
    "yunikorn": {"yunikorn.apache.org/queue": "root.research", "ray.io/gang-scheduling-enabled": "true"},
    "kai": {"kai.scheduler/queue": "team-a"},
}
PREFIXES = ("kueue.x-k8s.io/", "volcano.sh/", "yunikorn.apache.org/", "kai.scheduler/", "ray.io/")


def case(name, chart="training-job", kind="RayJob"):
    return one(render_file(chart, CHARTS / chart / "ci" / f"{name}-values.yaml"), kind)


def queue_labels(thing):
    return {key: value for key, value in thing["metadata"]["labels"].items() if key.startswith(PREFIXES)}


@pytest.mark.parametrize("queue", QUEUES)
def test_a_run_carries_the_labels_of_its_queue(queue):
    job = case(queue)
    found = queue_labels(job)
    assert found.pop("yunikorn.apache.org/app-id", job["metadata"]["name"]) == job["metadata"]["name"]
    assert found == QUEUES[queue]


@pytest.mark.parametrize("queue", QUEUES)
def test_a_queued_run_is_submitted_by_the_operator(queue):
    spec = case(queue)["spec"]
    assert spec["submissionMode"] == "HTTPMode"
    assert "submitterPodTemplate" not in spec


def test_a_run_without_a_queue_carries_none_of_their_labels():
    assert queue_labels(case("smallest")) == {}


def test_kueue_gets_what_its_webhook_demands():
    """Source: kueue v0.19, pkg/controller/jobs/rayjob/rayjob_webhook.go and raycluster/raycluster_webhook.go."""
    jobs = [
        job
        for path in JOB_VALUES
        for job in of_kind(render_file("training-job", path), "RayJob")
        if "kueue.x-k8s.io/queue-name" in job["metadata"]["labels"]
    ]
    assert len(jobs) == 3
    for job in jobs:
        spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
        assert spec["shutdownAfterJobFinishes"] is True
        assert "suspend" not in spec
        assert "deletionStrategy" not in spec
        assert "clusterSelector" not in spec
        groups = [group["groupName"] for group in cluster["workerGroupSpecs"]]
        assert "head" not in groups
        assert 1 + len(groups) + ("submitterPodTemplate" in spec) <= 18
        elastic = job["metadata"]["annotations"].get("kueue.x-k8s.io/elastic-job")
        assert elastic == ("true" if cluster.get("enableInTreeAutoscaling") else None)


def test_kueue_is_asked_for_topology_on_workers_alone():
    cluster = case("kueue")["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    workers = group["template"]["metadata"]["annotations"]
    assert workers["kueue.x-k8s.io/podset-required-topology"] == "cloud.provider.com/topology-rack"
    head = cluster["headGroupSpec"]["template"]["metadata"]["annotations"]
    assert not any("topology" in key for key in head)


def test_a_shared_cluster_can_wait_in_a_queue():
    cluster = case("kueue", "ray-cluster", "RayCluster")
    assert queue_labels(cluster) == {"kueue.x-k8s.io/queue-name": "tadrib"}
