# SPDX-License-Identifier: Apache-2.0
"""doctor: a cluster in good order passes; each thing that is broken is one check that says what to do."""

from __future__ import annotations

import json

import pytest

from tests.charts.helm import find_helm
from tests.kubernetes.good_cluster import SPEC, VALUES, a_good_cluster
from tests.kubernetes.harm import BROKEN, QUEUE, without


@pytest.fixture
def files(tmp_path, cluster):
    if find_helm() is None:
        pytest.skip("no helm: set $HELM, or run `python tools/get_helm.py`")
    cluster.add(*a_good_cluster())
    (tmp_path / "run.yaml").write_text(SPEC)
    (tmp_path / "platform.yaml").write_text(VALUES)
    return [str(tmp_path / "run.yaml"), "--values", str(tmp_path / "platform.yaml")]


def found(done):
    """Checks of a doctor's JSON, by name."""
    return {check["name"]: check for check in json.loads(done.out)}


def test_a_good_cluster_passes_every_check(files, tadrib):
    done = tadrib("doctor", *files)
    assert done.code == 0, done.out
    lines = done.out.splitlines()
    assert lines[-1] == "no check failed"
    assert all(line.startswith("✓ ") for line in lines[:-1])
    for said in (
        "Kubernetes v1.34.1 at http://",
        "team-a, Pod Security restricted",
        "rayjobs and rayclusters of ray.io/v1",
        "quay.io/kuberay/operator:v1.7.0 in namespace kuberay-system",
        "you may submit, follow and stop runs in team-a",
        "LocalQueue gpu admits runs; 2 are waiting",
        "claim tadrib is bound (ReadWriteMany)",
        "Secret huggingface exists, with token",
        "Secret registry exists",
        "arabic-dpo, created with the run; its token is not mounted",
        "registry.example/tadrib:0.1.0, on 3 of 3 nodes already",
        "capacity for the head",
        "capacity for 4 workers",
        "1 nvidia.com/gpu",
    ):
        assert said in done.out
    assert "c2VjcmV0" not in done.out


def test_without_a_spec_the_cluster_and_what_the_values_name_are_checked(files, tadrib):
    checks = found(tadrib("doctor", *files[1:], "--json"))
    assert checks["secrets"]["verdict"] == "ok"
    assert not any(name.startswith("capacity for") for name in checks)


@pytest.mark.parametrize(("harm", "name", "verdict", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_found(harm, name, verdict, said, files, cluster, tadrib):
    harm(cluster)
    done = tadrib("doctor", *files, "--json")
    checks = [check for check in json.loads(done.out) if check["name"] == name and said in check["said"]]
    assert [check["verdict"] for check in checks] == [verdict], done.out
    assert bool(checks[0]["action"]) == (verdict != "ok")
    failed = [check for check in json.loads(done.out) if check["verdict"] == "fail"]
    assert done.code == (1 if failed else 0)


@pytest.mark.parametrize(
    ("per_node", "name", "verdict", "said", "action"),
    [
        (2, "capacity for 2 pods of 2 workers", "ok", "16 cpu, 128Gi memory, 2 nvidia.com/gpu each", ""),
        (
            4,
            "capacity for 1 pod of 4 workers",
            "fail",
            "0/3 nodes have 4 free nvidia.com/gpu, even when they are empty",
            "The largest node holds 2 of these workers: set resources.workers_per_node: 2, or add nodes.",
        ),
        (
            None,
            "GPUs of a node",
            "warn",
            "each worker has a pod of its own, and nodes have up to 2 nvidia.com/gpu",
            "GPUs of several pods exchange nothing over NVLink: set platform.gpu.perNode: 2.",
        ),
    ],
)
def test_pods_of_several_workers_are_held_to_what_one_node_has(
    per_node, name, verdict, said, action, files, tadrib
):
    checks = found(
        tadrib("doctor", files[0], f"resources.workers_per_node={per_node or 'null'}", *files[1:], "--json")
    )
    check = checks[name]
    assert (check["verdict"], check["action"]) == (verdict, action)
    assert said in check["said"]


def test_workers_that_are_to_have_pods_of_their_own_are_no_fault(files, tadrib):
    assert "GPUs of a node" not in found(tadrib("doctor", *files, "--json"))


@pytest.mark.parametrize(
    ("values", "name", "verdict", "said"),
    [
        (
            "platform:\n  storage: {claim: tadrib}\n  image: {pullPolicy: Never}\n",
            "image",
            "warn",
            "pullPolicy is Never",
        ),
        ("platform:\n  storage: {claim: tadrib}\n", "image", "warn", "its name has no registry"),
        ("platform:\n  storage: {claim: tadrib}\n", "queue", "ok", "none"),
        (
            "platform:\n  storage: {claim: tadrib}\n  queue: {kind: volcano, name: q}\n",
            "queue",
            "fail",
            "the cluster has no Volcano",
        ),
        (
            "platform:\n  storage: {claim: tadrib}\n  queue: {kind: yunikorn, name: root.q}\n",
            "queue",
            "warn",
            "queue root.q of YuniKorn was not checked",
        ),
        (
            "platform:\n  storage: {claim: tadrib}\n  serviceAccount: {create: false, name: runner}\n",
            "service account",
            "fail",
            "there is no service account runner",
        ),
        (
            "platform:\n  storage: {claim: tadrib}\n  priorityClass: high\n",
            "priority class",
            "fail",
            "there is no priority class high",
        ),
        ("platform: {}\n", "spec and values", "fail", "Set platform.storage.claim"),
    ],
)
def test_what_the_values_ask_for_and_is_not_there_is_found(
    values, name, verdict, said, files, tadrib, tmp_path
):
    (tmp_path / "platform.yaml").write_text(values)
    check = found(tadrib("doctor", *files, "--json"))[name]
    assert (check["verdict"], said in check["said"]) == (verdict, True), check


def test_what_fails_is_shown_with_what_to_do(files, cluster, tadrib):
    without(QUEUE)(cluster)
    done = tadrib("doctor", *files)
    assert done.code == 1
    assert "✗ queue" in done.out
    assert "Ask the administrator for a LocalQueue here." in done.out
    assert done.out.splitlines()[-1].startswith("1 of ")


def test_a_cluster_that_cannot_be_reached_is_3_and_one_that_wants_a_login_too(files, cluster, tadrib):
    cluster.token = "another"
    done = tadrib("doctor", *files)
    assert done.code == 3
    assert "did not authenticate you (401)" in done.err


def test_without_helm_the_cluster_is_still_checked(files, tadrib, monkeypatch):
    monkeypatch.setenv("HELM", "/nowhere/helm")
    checks = found(tadrib("doctor", *files, "--json"))
    assert checks["cluster"]["verdict"] == "ok"
    assert checks["spec and values"]["verdict"] == "fail"
    assert "Install Helm 4" in checks["spec and values"]["said"]
