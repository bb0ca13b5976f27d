# SPDX-License-Identifier: Apache-2.0
"""Pods of several workers: what one pod asks for, how many there are, and what Helm refuses."""

from __future__ import annotations

import pytest

from tadrib.training.config import parse_spec
from tests.charts import crds, kuberay_rules
from tests.charts.helm import a_job, of_kind, one, refused, render
from tests.charts.jobs import case, group_of, head_of, limits_of, workers_of
from tests.charts.test_notes import notes

GPUS = {"gpus_per_worker": 1, "cpus_per_worker": 7.5, "memory_per_worker": "64Gi"}
KUEUE = {"kind": "kueue", "name": "q"}


def rayjob(objects):
    """The RayJob of a release, valid for KubeRay."""
    job = one(objects, "RayJob")
    assert crds.crd_errors(job) == []
    assert kuberay_rules.problems(job) == []
    return job


def test_sixteen_workers_on_nodes_of_eight_gpus_are_two_pods_of_eight():
    job = case("whole-nodes")
    group = group_of(job)

    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (2, 2, 2)
    assert group["rayStartParams"]["num-gpus"] == "8"
    assert limits_of(workers_of(job)) == {
        "cpu": "64",
        "memory": "512Gi",
        "nvidia.com/gpu": "8",
        "rdma/ib": "8",
    }
    assert workers_of(job)["metadata"]["labels"]["tadrib/workers"] == "8"
    assert set(limits_of(head_of(job))) == {"cpu", "memory"}
    assert "tadrib/workers" not in head_of(job)["metadata"]["labels"]


def test_the_launcher_of_these_pods_has_the_world_size_of_the_spec(tmp_path):
    """The command adds what the chart decided, so that the driver places, counts and resizes by whole pods too."""
    resources = {**GPUS, "num_workers": 16}
    job = rayjob(render("training-job", a_job({"gpu": {"perNode": 8}}, resources=resources), tmp_path))

    *_, override = job["spec"]["entrypoint"].split()
    key, _, value = override.partition("=")
    spec = parse_spec(
        {
            "method": "dpo",
            "name": "run",
            "dataset_path": "data/rows.jsonl",
            "resources": {**resources, key.removeprefix("resources."): int(value)},
        }
    )
    assert (spec.world_size, spec.resources.workers_together) == (16, 8)


@pytest.mark.parametrize(
    ("per_pod", "pods", "cpu", "memory", "shm", "object_store"),
    [
        (1, 8, "7.5", "64Gi", "1536Mi", 768),
        (2, 4, "15", "128Gi", "3072Mi", 1536),
        (4, 2, "30", "256Gi", "6144Mi", 3072),
        (8, 1, "60", "512Gi", "12288Mi", 6144),
    ],
)
@pytest.mark.parametrize("source", ["spec", "platform"])
def test_a_pod_has_what_its_workers_have_together(
    source, per_pod, pods, cpu, memory, shm, object_store, tmp_path
):
    """Memory of /dev/shm and its half for Ray's objects, here in MiB, count for each worker, too."""
    of_spec = {"workers_per_node": per_pod} if source == "spec" else {}
    platform = {"shm": {"size": "1536Mi"}, "gpu": {"perNode": 8 if source == "spec" else per_pod}}
    values = a_job(platform, resources={"num_workers": 8, **GPUS, **of_spec})
    job = rayjob(render("training-job", values, tmp_path))
    group = group_of(job)

    assert (group["replicas"], group["maxReplicas"]) == (pods, pods)
    assert limits_of(workers_of(job)) == {"cpu": cpu, "memory": memory, "nvidia.com/gpu": str(per_pod)}
    volumes = {volume["name"]: volume for volume in workers_of(job)["spec"]["volumes"]}
    assert volumes["shm"]["emptyDir"]["sizeLimit"] == shm
    assert group["rayStartParams"]["object-store-memory"] == str(object_store * 2**20)
    added = ["resources.workers_per_node=" + str(per_pod)] if source == "platform" and per_pod > 1 else []
    assert job["spec"]["entrypoint"].split()[3:] == added


@pytest.mark.parametrize(
    ("per_pod", "least", "most"),
    [(1, 8, 32), (2, 4, 16), (4, 2, 8), (8, 1, 4)],
)
def test_a_range_of_workers_is_one_of_whole_pods(per_pod, least, most, tmp_path):
    values = a_job(
        {"queue": KUEUE},
        resources={"num_workers": {"min": 8, "max": 32}, "gpus_per_worker": 1, "workers_per_node": per_pod},
    )
    job = rayjob(render("training-job", values, tmp_path))
    group = group_of(job)

    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (least, least, most)
    assert job["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is True
    assert job["metadata"]["annotations"]["kueue.x-k8s.io/elastic-job"] == "true"


def test_a_range_that_is_one_number_of_pods_needs_no_autoscaler(tmp_path):
    values = a_job(resources={"num_workers": {"min": 8, "max": 8}, "workers_per_node": 8})
    job = rayjob(render("training-job", values, tmp_path))

    assert "enableInTreeAutoscaling" not in job["spec"]["rayClusterSpec"]


@pytest.mark.parametrize("per_pod", [1, 2, 4, 8])
def test_kueue_counts_whole_pods_and_places_them_by_topology(per_pod, tmp_path):
    topology = {"mode": "required", "level": "cloud.provider.com/topology-rack"}
    values = a_job(
        {"queue": {**KUEUE, "topology": topology}, "gpu": {"perNode": per_pod}},
        resources={"num_workers": 16, **GPUS},
    )
    group = group_of(rayjob(render("training-job", values, tmp_path)))

    assert group["replicas"] * int(limits_of_group(group)["nvidia.com/gpu"]) == 16
    annotations = group["template"]["metadata"]["annotations"]
    assert annotations["kueue.x-k8s.io/podset-required-topology"] == topology["level"]


@pytest.mark.parametrize("per_pod", [1, 2, 4, 8])
def test_a_claim_is_for_all_gpus_of_a_pod(per_pod, tmp_path):
    platform = {"gpu": {"perNode": 8, "dra": {"enabled": True}}}
    values = a_job(platform, resources={"num_workers": 16, "workers_per_node": per_pod, **GPUS})
    objects = render("training-job", values, tmp_path)
    job = rayjob(objects)
    (claim,) = of_kind(objects, "ResourceClaimTemplate")

    assert claim["spec"]["spec"]["devices"]["requests"][0]["exactly"]["count"] == per_pod
    assert group_of(job)["replicas"] == 16 // per_pod
    assert group_of(job)["rayStartParams"]["num-gpus"] == str(per_pod)
    assert "nvidia.com/gpu" not in limits_of(workers_of(job))


def test_workers_without_gpus_share_a_pod_only_where_the_spec_says_so(tmp_path):
    platform = {"gpu": {"perNode": 8}, "workers": {"memory": "1.5Gi"}}
    apart = render("training-job", a_job(platform, resources={"num_workers": 4}), tmp_path)
    together = a_job(platform, resources={"num_workers": 4, "cpus_per_worker": 0.5, "workers_per_node": 2})
    pairs = rayjob(render("training-job", together, tmp_path))

    assert group_of(rayjob(apart))["replicas"] == 4
    assert group_of(pairs)["replicas"] == 2
    assert limits_of(workers_of(pairs)) == {"cpu": "1", "memory": "3Gi"}


def test_a_run_smaller_than_a_node_is_one_pod(tmp_path):
    values = a_job({"gpu": {"perNode": 8}}, resources={"num_workers": 4, **GPUS})
    group = group_of(rayjob(render("training-job", values, tmp_path)))

    assert (group["replicas"], limits_of_group(group)["nvidia.com/gpu"]) == (1, "4")


def test_a_strategy_of_deepspeed_changes_nothing_of_the_pods(tmp_path):
    values = a_job({"gpu": {"perNode": 8}}, strategy="zero3", resources={"num_workers": 16, **GPUS})
    group = group_of(rayjob(render("training-job", values, tmp_path)))

    assert (group["replicas"], limits_of_group(group)["nvidia.com/gpu"]) == (2, "8")


def test_a_shared_cluster_has_room_for_a_worker_on_each_gpu(tmp_path):
    platform = {"storage": {"claim": "tadrib"}, "shm": {"size": "8Gi"}}
    groups = {"gpu": {"min": 2, "max": 2, "gpus": 8, "cpu": "64", "memory": "512Gi"}}
    cluster = one(
        render("ray-cluster", {"workerGroups": groups, "platform": platform}, tmp_path), "RayCluster"
    )
    (group,) = cluster["spec"]["workerGroupSpecs"]

    assert limits_of_group(group) == {"cpu": "64", "memory": "512Gi", "nvidia.com/gpu": "8"}
    assert group["rayStartParams"]["object-store-memory"] == str(32 * 2**30)


@pytest.mark.parametrize(
    ("platform", "resources", "said"),
    [
        (
            {"gpu": {"perNode": 8}},
            {"num_workers": 12, "gpus_per_worker": 1},
            "platform.gpu.perNode puts 8 workers on a node, which does not divide resources.num_workers (12); a run"
            " takes whole nodes. Set resources.workers_per_node: 6, or another num_workers.",
        ),
        (
            {},
            {"num_workers": {"min": 2, "max": 16}, "workers_per_node": 8},
            "resources.workers_per_node puts 8 workers on a node, which does not divide resources.num_workers"
            " ({min: 2, max: 16}); a run takes whole nodes. Set resources.workers_per_node: 2,",
        ),
        (
            {"gpu": {"perNode": 4}},
            {"num_workers": 16, "gpus_per_worker": 1, "workers_per_node": 8},
            "resources.workers_per_node is 8, and nodes have 4 GPUs (platform.gpu.perNode). Set it to 4 or less.",
        ),
        ({}, {"num_workers": 2, "workers_per_node": 0}, "minimum: got 0, want 1"),
        (
            {
                "gpu": {"perNode": 8},
                "queue": {**KUEUE, "topology": {"mode": "required", "level": "kubernetes.io/hostname"}},
            },
            {"num_workers": 16, "gpus_per_worker": 1},
            "requires one node (kubernetes.io/hostname) for 16 GPUs, and a node has 8",
        ),
    ],
)
def test_what_no_node_could_hold_is_refused(platform, resources, said, tmp_path):
    assert said in refused("training-job", a_job(platform, resources=resources), tmp_path)


@pytest.mark.parametrize(
    ("number", "said"),
    [("0", "must be at least 1, got 0."), ("1.5", 'must be a whole number, got "1.5".')],
)
def test_a_file_with_an_impossible_node_is_refused(number, said, tmp_path):
    text = f"method: dpo\nname: run\ndataset_path: d\nresources: {{num_workers: 4, workers_per_node: {number}}}\n"
    values = a_job()
    values["jobs"]["run"] = {"specFile": text}
    assert f"jobs.run: resources.workers_per_node {said}" in refused("training-job", values, tmp_path)


def test_notes_say_how_many_workers_a_pod_has(tmp_path):
    text = notes(a_job({"gpu": {"perNode": 8}}, resources={"num_workers": 16, **GPUS}), tmp_path)
    assert "run: dpo with 16 workers, 1 nvidia.com/gpu each, 8 in a pod, as RayJob run-" in text


def limits_of_group(group):
    return limits_of(group["template"])
