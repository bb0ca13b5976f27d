# SPDX-License-Identifier: Apache-2.0
"""NOTES and the test hook of the chart training-job: exact next commands, and a check that really runs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.charts.helm import CHARTS, a_job, helm, messages, of_kind, one, render, write_values
from tests.tiny import EXAMPLES

CHECK = CHARTS / "training-job" / "files" / "check.py"


def notes(values, tmp_path):
    path = write_values(values, tmp_path)
    chart = str(CHARTS / "training-job")
    done = helm("install", "team-runs", chart, "-f", str(path), "--dry-run=client", "-n", "team-a")
    assert done.returncode == 0, messages(done)
    return done.stdout.split("NOTES:")[1]


def test_notes_name_the_run_its_workers_and_its_rayjob(tmp_path):
    text = notes(a_job(resources={"num_workers": 4, "gpus_per_worker": 1}), tmp_path)
    match = re.search(r"run: dpo with 4 workers, 1 nvidia.com/gpu each, as RayJob (run-[0-9a-f]{6})", text)
    assert match
    assert f"kubectl get rayjob {match[1]} --namespace team-a" in text
    assert f"kubectl get pods --namespace team-a --selector tadrib/object={match[1]}" in text
    assert "/mnt/tadrib/runs/run/result.json" in text
    assert "helm test team-runs --namespace team-a" in text
    assert "helm uninstall team-runs --namespace team-a" in text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (a_job(), "run: dpo with 1 worker, as RayJob"),
        (a_job(resources={"num_workers": {"min": 2, "max": 8}}), "dpo with 2 to 8 workers"),
        (a_job({"submissionMode": "K8sJobMode"}), "kubectl logs --follow job/run-"),
        (a_job(), "-- sh -c 'tail -n +1 -f /tmp/ray/session_latest/logs/job-driver-*.log'"),
        (a_job(storage_path="s3://bucket/runs/"), "s3://bucket/runs/run/result.json"),
        (a_job({"queue": {"kind": "kueue", "name": "q"}}), "kubectl get workloads --namespace team-a"),
        (a_job(), "Each `helm upgrade` restarts every run of this release from its last checkpoint."),
        (a_job({"restartOn": "change"}), "each run whose spec, platform or restart has changed"),
    ],
)
def test_notes_fit_what_was_installed(values, said, tmp_path):
    assert said in notes(values, tmp_path)


def test_the_test_of_a_release_is_a_pod_for_each_run_that_helm_removes(tmp_path):
    objects = render("training-job", a_job(), tmp_path)
    pod = one(objects, "Pod")
    annotations = pod["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "test"
    assert "hook-succeeded" in annotations["helm.sh/hook-delete-policy"]
    assert pod["spec"]["restartPolicy"] == "Never"
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["python", "/etc/tadrib/check.py", "/etc/tadrib"]
    (specs,) = [v for v in pod["spec"]["volumes"] if v["name"] == "specs"]
    (config,) = [c for c in of_kind(objects, "ConfigMap") if c["metadata"]["name"].endswith("-test")]
    assert specs["configMap"]["name"] == config["metadata"]["name"]
    assert config["data"]["check.py"] == CHECK.read_text()
    assert set(config["data"]) == {"check.py", "run.yaml"}
    assert "storage" in [mount["name"] for mount in container["volumeMounts"]]


def run_check(tmp_path, text):
    (tmp_path / "run.yaml").write_text(text)
    command = [sys.executable, str(CHECK), str(tmp_path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)


def test_the_check_passes_where_spec_and_storage_are_good(tmp_path):
    done = run_check(
        tmp_path, f"method: dpo\nname: run\ndataset_path: {EXAMPLES}/x.jsonl\nstorage_path: runs\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "run: the spec is valid, and runs can be written and read\n"
    assert list((tmp_path / "runs").iterdir()) == [], "it leaves nothing behind"


def test_the_check_writes_to_an_object_store_as_the_run_does(tmp_path):
    text = f"method: dpo\nname: run\ndataset_path: x\nstorage_path: file://{tmp_path}/store\n"
    done = run_check(tmp_path, text)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "store").iterdir()) == []


def test_the_check_fails_for_a_bad_spec(tmp_path):
    done = run_check(tmp_path, "method: dpo\nname: run\nbetta: 0.2\ndataset_path: x\n")
    assert done.returncode == 1
    assert "Did you mean beta?" in done.stdout


def test_the_check_fails_for_storage_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_check(tmp_path, "method: dpo\nname: run\ndataset_path: x\nstorage_path: file/runs\n")
    assert done.returncode == 1
    assert re.match(r"run: .*file", done.stdout)
