# SPDX-License-Identifier: Apache-2.0
"""submit --kubernetes: the real Helm installs and upgrades a run on the test's API server, and the run is followed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.charts.helm import find_helm
from tests.kubernetes.recorded import CLUSTER

JOBS = "/apis/ray.io/v1/namespaces/team-a/rayjobs"
SPEC = "method: dpo\nname: arabic-dpo\ndataset_path: data/rows.jsonl  # the rows\nstorage_path: runs\n"


@pytest.fixture
def files(tmp_path, monkeypatch, cluster):
    """A spec and values of a platform; Helm sends no token without TLS, and keeps releases in ConfigMaps."""
    if find_helm() is None:
        pytest.skip("no helm: set $HELM, or run `python tools/get_helm.py`")
    monkeypatch.setenv("HELM_DRIVER", "configmap")
    cluster.token = ""
    (tmp_path / "run.yaml").write_text(SPEC)
    (tmp_path / "platform.yaml").write_text("platform:\n  storage: {claim: tadrib}\n")
    return [str(tmp_path / "run.yaml"), "--values", str(tmp_path / "platform.yaml")]


def jobs(cluster):
    return [thing for at, thing in cluster.objects.items() if at.startswith(f"{JOBS}/")]


def test_submit_installs_one_run_with_the_spec_as_it_is_written(files, cluster, tadrib):
    done = tadrib("submit", *files, "-k", "--no-follow")
    (job,) = jobs(cluster)
    assert (done.code, done.err) == (0, "")
    assert f"arabic-dpo has been submitted: RayJob {job['metadata']['name']} in namespace team-a" in done.out
    assert "tadrib logs arabic-dpo --follow --kubernetes --namespace team-a" in done.out
    config = cluster.objects[f"/api/v1/namespaces/team-a/configmaps/{job['metadata']['name']}"]
    assert config["data"]["arabic-dpo.yaml"] == SPEC
    assert job["metadata"]["labels"]["app.kubernetes.io/instance"] == "arabic-dpo"


def test_overrides_are_in_the_spec_that_is_sent(files, cluster, tadrib):
    assert (
        tadrib(
            "submit", files[0], "beta=0.2", "resources.num_workers=3", *files[1:], "-k", "--no-follow"
        ).code
        == 0
    )
    (job,) = jobs(cluster)
    config = cluster.objects[f"/api/v1/namespaces/team-a/configmaps/{job['metadata']['name']}"]
    assert "beta: 0.2" in config["data"]["arabic-dpo.yaml"]
    assert job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] == 3


def test_a_queue_is_one_of_kueue_unless_the_values_say_otherwise(files, cluster, tadrib, tmp_path):
    tadrib("submit", *files, "-k", "--no-follow", "--queue", "gpu")
    (job,) = jobs(cluster)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    (tmp_path / "platform.yaml").write_text(
        "platform:\n  storage: {claim: c}\n  queue: {kind: volcano, name: x}\n"
    )
    rendered = tadrib("render", *files, "--queue", "gpu").out
    assert 'volcano.sh/queue-name: "gpu"' in rendered


def test_a_run_that_runs_is_not_started_again(files, cluster, tadrib):
    tadrib("submit", *files, "-k", "--no-follow")
    (job,) = jobs(cluster)
    job["status"] = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
    done = tadrib("submit", *files, "-k", "--no-follow")
    assert f"arabic-dpo is running this spec already: RayJob {job['metadata']['name']}" in done.out
    assert jobs(cluster) == [job]


def test_another_spec_of_the_same_name_is_refused_with_every_difference(files, cluster, tadrib):
    tadrib("submit", *files, "-k", "--no-follow")
    done = tadrib("submit", files[0], "beta=0.3", *files[1:], "-k", "--no-follow")
    assert done.code == 2
    assert "beta: is 0.1 there and 0.3 here." in done.err
    assert "tadrib stop arabic-dpo --kubernetes" in done.err


def test_a_run_that_ended_is_submitted_again_as_a_new_rayjob(files, cluster, tadrib):
    tadrib("submit", *files, "-k", "--no-follow")
    (first,) = jobs(cluster)
    first["status"] = {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}
    tadrib("submit", *files, "-k", "--no-follow")
    (second,) = jobs(cluster)
    assert second["metadata"]["name"] != first["metadata"]["name"]
    assert second["metadata"]["annotations"]["tadrib/revision"] == "2"


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"run.yaml": SPEC + "betta: 1\n"}, 2, "Did you mean beta?"),
        ({"platform.yaml": "platform:\n  imag: {}\n"}, 2, "additional properties 'imag' not allowed"),
        ({"platform.yaml": "{}\n"}, 2, "Set platform.storage.claim to a ReadWriteMany claim"),
        (
            {"platform.yaml": "jobs: {other: {spec: {}}}\n"},
            2,
            "contains other, but one run is submitted at a time",
        ),
        ({"platform.yaml": "a: [1\n"}, 2, "not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_applied(
    change, code, said, files, cluster, tadrib, tmp_path
):
    for name, text in change.items():
        (tmp_path / name).write_text(text)
    done = tadrib("submit", *files, "-k")
    assert done.code == code
    assert said in done.err
    assert "PATCH" not in {method for method, _ in cluster.requests}
    assert tadrib("render", *files).code == code


def test_values_without_kubernetes_and_fresh_with_it_are_refused(files, tadrib):
    assert "are for --kubernetes" in tadrib("submit", *files).err
    assert "use a new name" in tadrib("submit", *files, "-k", "--fresh").err


def test_a_driver_of_helm_that_is_forbidden_says_which_is_not(files, cluster, tadrib, monkeypatch):
    monkeypatch.setenv("HELM_DRIVER", "secret")
    cluster.refusals["/api/v1/namespaces/team-a/secrets"] = 403
    done = tadrib("submit", *files, "-k", "--no-follow")
    assert done.code == 3
    assert "HELM_DRIVER=configmap" in done.err


def test_no_helm_and_no_charts_say_where_they_come_from(files, tadrib, monkeypatch, tmp_path):
    monkeypatch.setenv("TADRIB_CHARTS", str(tmp_path))
    done = tadrib("render", *files)
    assert (done.code, "oci:// URL" in done.err) == (2, True)
    monkeypatch.setenv("HELM", str(tmp_path / "helm"))
    monkeypatch.delenv("TADRIB_CHARTS")
    done = tadrib("render", *files)
    assert (done.code, "Install Helm 4" in done.err) == (2, True)


def test_render_prints_what_helm_would_apply_and_asks_no_cluster(files, cluster, tadrib):
    done = tadrib("render", *files, "--namespace", "team-b")
    assert done.code == 0
    assert "kind: RayJob" in done.out
    assert "namespace: team-b" in done.out
    assert cluster.requests == []


def test_render_refuses_what_kuberay_would_leave_at_validation_failed(files, tadrib, tmp_path):
    (tmp_path / "platform.yaml").write_text("platform:\n  storage: {claim: c}\n  rayVersion: 2.40.0\n")
    done = tadrib("render", *files)
    assert done.code == 2
    assert "platform.rayVersion: 2.40.0, but Ray requires tokens only since 2.52.0" in done.err


def test_submit_follows_and_ends_as_the_run_ends(files, cluster, tadrib):
    """The operator's part is played here: it takes the RayJob that Helm made through its life."""

    def operate(method, path):
        for job in jobs(cluster):
            if ("GET", JOBS) in cluster.requests and path == f"{JOBS}/{job['metadata']['name']}":
                now = datetime.now(UTC).isoformat()
                job["status"] = {
                    "jobDeploymentStatus": "Complete",
                    "jobStatus": "SUCCEEDED",
                    "startTime": now,
                    "endTime": now,
                }

    cluster.on_request = operate
    done = tadrib("submit", *files, "-k")
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith("arabic-dpo succeeded")
    assert CLUSTER not in done.out
