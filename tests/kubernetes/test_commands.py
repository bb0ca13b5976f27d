# SPDX-License-Identifier: Apache-2.0
"""status and list on Kubernetes, and what goes wrong on the way, against a real HTTP server and by the real client."""

from __future__ import annotations

import json
import socket

import pytest

from tadrib.ray_jobs.kube.api import KubernetesApi
from tests.kubernetes.heads import RUNNING
from tests.kubernetes.recorded import (
    CLUSTER,
    HOUR,
    NAME,
    SPEC_TEXT,
    all_ready,
    condition,
    configmap,
    event,
    rayjob,
    ready,
    unplaced,
    waits,
    workload,
)
from tests.runs.builders import run_in

# --- status


def test_a_running_run_says_how_far_it_is(running, tadrib):
    done = tadrib("status", "arabic-dpo", "-k")
    assert done.code == 0
    assert done.out.splitlines()[0] == "… arabic-dpo is running: step 40 of 100, about 12:30 left"
    assert "workers          4 of 4 ready" in done.out
    assert "last checkpoint  checkpoint-30" in done.out
    assert running.commands == [["tadrib", "status", "runs/arabic-dpo", "--json"]]


def test_a_namespace_alone_is_enough_and_the_rayjobs_name_is_too(running, tadrib):
    assert tadrib("status", "arabic-dpo", "--namespace", "team-a").code == 0
    assert tadrib("status", NAME, "-n", "team-a").code == 0


def test_a_context_brings_its_namespace(running, cluster, tadrib):
    done = tadrib("status", "arabic-dpo", "--context", "other")
    assert done.code == 2
    assert "namespace team-b: has no run arabic-dpo" in done.err


def test_status_is_json_where_it_is_asked_for(running, tadrib):
    told = json.loads(tadrib("status", "arabic-dpo", "-k", "--json").out)
    assert (told["state"], told["exit_code"]) == ("running", 0)
    assert ["workers", "4 of 4 ready"] in told["facts"]
    assert told["steps_done"] == 40


@pytest.mark.parametrize(
    ("things", "code", "said"),
    [
        ([rayjob("Complete", jobStatus="SUCCEEDED")], 0, "✓ arabic-dpo succeeded"),
        ([rayjob("Complete", jobStatus="STOPPED")], 130, "■ arabic-dpo was stopped"),
        ([rayjob("ValidationFailed", message="bad")], 1, "✗ arabic-dpo was rejected by KubeRay"),
        (
            [
                rayjob("Initializing", made="2020-01-01T00:00:00Z"),
                ready("head"),
                unplaced("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
            ],
            0,
            "0/3 nodes have 8 free nvidia.com/gpu",
        ),
        (
            [
                rayjob("Initializing"),
                waits("ContainerCreating", role="head"),
                event(f"{CLUSTER}-head-0", "FailedMount", "MountVolume.SetUp failed"),
            ],
            0,
            "a volume of the head cannot be mounted: MountVolume.SetUp failed",
        ),
        (
            [
                rayjob("Suspended", queue="gpu", spec={"suspend": True}),
                workload(condition("QuotaReserved", "False", "WaitingForQuota", "8 more needed")),
            ],
            0,
            "it waits for quota (queue gpu): 8 more needed",
        ),
        (
            [rayjob("Running", spec={"submissionMode": "K8sJobMode"}, **RUNNING), *all_ready()],
            0,
            "arabic-dpo has been running for",
        ),
    ],
)
def test_every_end_has_its_exit_code(things, code, said, cluster, tadrib):
    cluster.add(*things)
    done = tadrib("status", "arabic-dpo", "-k")
    assert said in done.out
    assert done.code == code


def test_the_newest_rayjob_of_a_run_counts(cluster, tadrib):
    old = rayjob("Complete", jobStatus="STOPPED", made="2026-11-24T09:00:00Z")
    old["metadata"]["name"] = "arabic-dpo-older"
    cluster.add(old, rayjob("Complete", jobStatus="SUCCEEDED"))
    assert tadrib("status", "arabic-dpo", "-k").code == 0


def test_an_unknown_run_is_told_from_those_there_are(running, tadrib):
    done = tadrib("status", "arabic-dpo2", "-k")
    assert done.code == 2
    assert "has no run arabic-dpo2. There are arabic-dpo." in done.err


def test_what_may_not_be_read_is_left_out_and_said(running, cluster, tadrib):
    cluster.refusals["/api/v1/namespaces/team-a/pods"] = 403
    done = tadrib("status", "arabic-dpo", "-k")
    assert done.code == 0
    assert "arabic-dpo has been running for" in done.out
    assert "not allowed to read  pods" in done.out


# --- what goes wrong on the way


def test_an_unreachable_cluster_is_3(cluster, tadrib, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        cluster.address = f"http://127.0.0.1:{free.getsockname()[1]}"
    cluster.kubeconfig(tmp_path / "kubeconfig")
    done = tadrib("status", "arabic-dpo", "-k")
    assert done.code == 3
    assert "the Kubernetes cluster cannot be reached" in done.err
    assert "kubectl version" in done.err


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "requires a login"), (403, "tadrib-viewer"), (500, "refused a request"), (503, "overloaded")],
)
def test_a_cluster_that_refuses_is_3(status, said, cluster, tadrib):
    cluster.refusals["/apis/ray.io"] = status
    done = tadrib("list", "-k")
    assert done.code == 3
    assert said in done.err


def test_a_cluster_without_kuberay_says_so(cluster, tadrib):
    cluster.groups.discard("/apis/ray.io/v1")
    done = tadrib("status", "arabic-dpo", "-k")
    assert done.code == 3
    assert "the CRDs of KubeRay are missing" in done.err


@pytest.mark.parametrize("text", ["", "{}", "a: [1"])
def test_a_kubeconfig_that_is_none_is_3(text, cluster, tadrib, tmp_path):
    (tmp_path / "kubeconfig").write_text(text)
    done = tadrib("list", "-k")
    assert done.code == 3
    assert "no Kubernetes cluster is configured" in done.err


def test_a_context_that_does_not_exist_is_3(cluster, tadrib):
    done = tadrib("list", "--context", "nope")
    assert done.code == 3
    assert "nope" in done.err


def test_two_places_at_once_are_refused(cluster, tadrib):
    done = tadrib("status", "x", "-k", "--address", "http://head:8265")
    assert done.code == 2
    assert "not both" in done.err


# --- list


def test_list_has_one_sentence_a_run(running, cluster, tadrib):
    other = rayjob("Suspended", queue="gpu", spec={"suspend": True})
    other["metadata"] |= {
        "name": "sft-77aa01",
        "uid": "uid-2",
        "labels": {"tadrib/run": "sft", "kueue.x-k8s.io/queue-name": "gpu"},
    }
    held = workload(condition("QuotaReserved", "False", "WaitingForQuota"))
    held["metadata"]["ownerReferences"][0]["uid"] = "uid-2"
    cluster.add(other, held)
    done = tadrib("list", "-k")
    assert done.code == 0
    assert [line.split()[1] for line in done.out.splitlines()] == ["arabic-dpo", "sft"]
    assert "waits for quota" in done.out
    assert running.commands == [], "a list asks no heads"
    assert [each["name"] for each in json.loads(tadrib("list", "-k", "--json").out)] == ["arabic-dpo", "sft"]


def test_list_shows_the_spec_of_each_run_and_what_went_wrong(cluster, tadrib):
    message = (
        "Job entrypoint command failed with exit code 1, last available logs (truncated to 20,000 chars):\n"
    )
    message += "✗ the loss is not finite at step 21: 1 problem\n"
    ended = {"jobStatus": "FAILED", "reason": "AppFailed", "rayJobInfo": {"startTime": HOUR}}
    cluster.add(rayjob("Failed", message=message, **ended), configmap(f"{SPEC_TEXT}model_name: ./tiny\n"))
    (run,) = json.loads(tadrib("list", "-k", "--json").out)
    assert (run["method"], run["start"], run["started"]) == ("dpo", "./tiny", 1795518000.0)
    assert (run["state"], run["exit_code"]) == ("failed", 1)
    assert run["error"] == "the loss is not finite at step 21: 1 problem"
    listed = tadrib("list", "-k").out
    assert listed.startswith(
        "✗ arabic-dpo failed: the loss is not finite at step 21: 1 problem [dpo of ./tiny, started "
    )


def test_a_run_on_kubernetes_is_json_of_the_same_keys_as_one_here(running, tadrib, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_in(tmp_path / "runs" / "run", result={"status": "succeeded"})
    there, here = (json.loads(tadrib(*command, "--json").out) for command in (("list", "-k"), ("list",)))
    one = json.loads(tadrib("status", "arabic-dpo", "-k", "--json").out)
    assert there[0].keys() == here[0].keys() == one.keys()


def test_an_empty_namespace_says_so(cluster, tadrib):
    assert tadrib("list", "-k").out == "there are no runs in namespace team-a\n"


def test_lists_are_read_page_by_page(cluster):
    for number in range(7):
        thing = ready("worker", number)
        cluster.add(thing)
    api = KubernetesApi()
    found = api.list("/api/v1/namespaces/team-a/pods", labelSelector=f"ray.io/cluster={CLUSTER}")
    assert len(found) == 7
    assert api.get("/api/v1/namespaces/team-a/pods", limit=3)["metadata"] == {"continue": "3"}
