# SPDX-License-Identifier: Apache-2.0
"""Names: within KubeRay's limits, and new whenever a run is to start again, as KubeRay ignores edits."""

from __future__ import annotations

import pytest
import yaml

from tests.charts.helm import CHARTS, a_job, helm, of_kind, one, render, render_file
from tests.charts.kuberay_rules import problems


def name_of(objects):
    return one(objects, "RayJob")["metadata"]["name"]


@pytest.mark.parametrize("run", ["a", "9lives", "a" * 40, "4" * 40, "x-" * 19 + "yz"])
def test_a_run_of_any_allowed_name_becomes_a_rayjob_that_kuberay_accepts(run, tmp_path):
    objects = render("training-job", a_job(name=run), tmp_path)
    job = one(objects, "RayJob")
    assert len(job["metadata"]["name"]) <= 47
    assert problems(job) == []
    assert job["metadata"]["labels"]["tadrib/run"] == run


def test_config_map_and_policy_have_the_name_of_the_rayjob(tmp_path):
    objects = render("training-job", a_job(), tmp_path)
    names = {
        thing["metadata"]["name"] for thing in objects if thing["kind"] in ("ConfigMap", "NetworkPolicy")
    }
    assert names == {name_of(objects), f"{name_of(objects)}-test"}
    volumes = one(objects, "RayJob")["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert {"name": "specs", "configMap": {"name": name_of(objects)}} in volumes


CHANGES = {
    "the spec": a_job(beta=0.2),
    "the platform": a_job({"retries": 3}),
    "its own platform": a_job(job={"platform": {"retries": 3}}),
    "restart": a_job(job={"restart": 2}),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_a_change_makes_a_new_rayjob_of_the_same_run(changed, tmp_path):
    before = one(render("training-job", a_job(), tmp_path), "RayJob")
    after = one(render("training-job", changed, tmp_path), "RayJob")
    assert before["metadata"]["name"] != after["metadata"]["name"]
    assert before["metadata"]["labels"]["tadrib/run"] == after["metadata"]["labels"]["tadrib/run"]
    assert before["spec"]["entrypoint"] == after["spec"]["entrypoint"]


def test_the_same_values_give_the_same_name(tmp_path):
    assert name_of(render("training-job", a_job(), tmp_path)) == name_of(
        render("training-job", a_job(), tmp_path, "--set", "platform.retries=2")
    )


def test_a_change_of_one_run_leaves_the_others_alone():
    values = CHARTS / "training-job" / "presets" / "all-methods.yaml"
    changed = ("--set-json", "jobs.six-dpo.spec.beta=0.3")
    before = {job["metadata"]["name"] for job in of_kind(render_file("training-job", values), "RayJob")}
    after = {
        job["metadata"]["name"] for job in of_kind(render_file("training-job", values, *changed), "RayJob")
    }
    (new,) = after - before
    assert new.startswith("six-dpo-")
    assert len(before & after) == 5


def test_each_upgrade_is_part_of_the_name_unless_only_changes_count():
    template = (CHARTS / "training-job" / "templates" / "_job.tpl").read_text()
    assert (
        'if eq $platform.restartOn "upgrade" }}{{- $_ := set $start "revision" (int .root.Release.Revision)'
        in (template)
    ), "`helm template` knows no revision but 1, so this is read and not run"


def test_a_release_whose_name_starts_with_a_digit_gets_a_cluster_that_kuberay_accepts():
    path = CHARTS / "ray-cluster" / "ci" / "smallest-values.yaml"
    done = helm("template", "9" * 53, str(CHARTS / "ray-cluster"), "-f", str(path))
    cluster = one([thing for thing in yaml.safe_load_all(done.stdout) if thing], "RayCluster")
    assert problems(cluster) == []
    assert cluster["metadata"]["name"].startswith("r9")
