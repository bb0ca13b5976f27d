# SPDX-License-Identifier: Apache-2.0
"""The chart ray-cluster: a shared cluster of the same pods, to submit runs to."""

from __future__ import annotations

from tests.charts.helm import CHARTS, a_job, helm, messages, of_kind, one, render, render_file
from tests.charts.pods import containers, templates

CI = CHARTS / "ray-cluster" / "ci"


def groups_of(objects):
    return {each["groupName"]: each for each in one(objects, "RayCluster")["spec"]["workerGroupSpecs"]}


def test_the_defaults_are_one_group_that_grows():
    (group,) = groups_of(render_file("ray-cluster", CI / "smallest-values.yaml")).values()
    assert (group["groupName"], group["replicas"], group["maxReplicas"]) == ("cpu", 1, 4)


def test_given_groups_replace_the_default_one(tmp_path):
    objects = render("ray-cluster", {"workerGroups": {"big": {"cpu": "16", "memory": "64Gi"}}}, tmp_path)
    (group,) = groups_of(objects).values()
    assert group["groupName"] == "big"
    assert group["template"]["spec"]["containers"][0]["resources"]["limits"] == {
        "cpu": "16",
        "memory": "64Gi",
    }
    assert (group["minReplicas"], group["maxReplicas"]) == (1, 1)
    assert "enableInTreeAutoscaling" not in one(objects, "RayCluster")["spec"]


def test_groups_may_be_empty_until_a_run_asks_for_them():
    groups = groups_of(render_file("ray-cluster", CI / "gpu-values.yaml"))
    assert {name: (each["replicas"], each["maxReplicas"]) for name, each in groups.items()} == {
        "cpu": (0, 2),
        "gpu": (0, 8),
    }
    assert groups["gpu"]["rayStartParams"]["num-gpus"] == "1"
    assert groups["cpu"]["rayStartParams"]["num-gpus"] == "0"
    assert "tolerations" in groups["gpu"]["template"]["spec"]
    assert "tolerations" not in groups["cpu"]["template"]["spec"]


def test_each_group_claims_gpus_of_its_own_template():
    objects = render_file("ray-cluster", CI / "dra-values.yaml")
    made = {each["metadata"]["name"]: each for each in of_kind(objects, "ResourceClaimTemplate")}
    counts = {
        name: made[group["template"]["spec"]["resourceClaims"][0]["resourceClaimTemplateName"]]["spec"][
            "spec"
        ]["devices"]["requests"][0]["exactly"]["count"]
        for name, group in groups_of(objects).items()
    }
    assert counts == {"one": 1, "eight": 8}


def test_its_pods_are_those_of_a_run(tmp_path):
    """One template: what differs is labels, mounted specs, and which variables a run's chart adds."""
    cluster = one(
        render("ray-cluster", {"platform": {"storage": {"claim": "tadrib"}}}, tmp_path), "RayCluster"
    )
    elastic = a_job(resources={"num_workers": {"min": 1, "max": 4}, "cpus_per_worker": 2})
    job = one(render("training-job", elastic, tmp_path), "RayJob")
    ours, theirs = dict(templates(cluster)), dict(templates(job))
    for mine, other in ((ours["head"], theirs["head"]), (ours["worker cpu"], theirs["worker workers"])):
        without = [{k: v for k, v in each.items() if k != "volumeMounts"} for each in containers(mine)]
        assert without == [
            {k: v for k, v in each.items() if k != "volumeMounts"} for each in containers(other)
        ]
        assert mine["spec"]["securityContext"] == other["spec"]["securityContext"]
    (specs,) = [v for v in theirs["head"]["spec"]["volumes"] if v not in ours["head"]["spec"]["volumes"]]
    assert specs["name"] == "specs"


def test_notes_say_how_to_submit():
    done = helm("install", "shared", str(CHARTS / "ray-cluster"), "--dry-run=client", "-n", "team-a")
    assert done.returncode == 0, messages(done)
    notes = done.stdout.split("NOTES:")[1]
    assert "kubectl port-forward service/shared-head-svc 8265 --namespace team-a" in notes
    assert "kubectl get secret shared --namespace team-a" in notes
    assert "tadrib submit my-run.yaml" in notes
    assert "helm test shared --namespace team-a" in notes
