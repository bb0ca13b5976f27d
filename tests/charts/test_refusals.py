# SPDX-License-Identifier: Apache-2.0
"""What Helm refuses before anything reaches a cluster, and the words in which it does."""

from __future__ import annotations

import copy

import pytest

from tests import credentials
from tests.charts.helm import CHARTS, a_job, helm, messages, one, refused, render
from tests.charts.kuberay_rules import problems

KAI = {"queue": {"kind": "kai", "name": "team"}}
KUEUE = {"kind": "kueue", "name": "q"}
GPUS = {"gpus_per_worker": 1}
FAKE_TOKEN = "hf_" + "a" * 20

REFUSED = {
    "a misspelt key at the root": ({"platfrom": {}}, "additional properties 'platfrom' not allowed"),
    "a misspelt key of the platform": (
        a_job({"gpu": {"resorce": "x"}}),
        "at '/platform/gpu': additional properties 'resorce' not allowed",
    ),
    "a misspelt key of the spec": (
        a_job(betta=0.1),
        "at '/jobs/run/spec': additional properties 'betta' not allowed",
    ),
    "a key of another method": (a_job(packing=True), "additional properties 'packing' not allowed"),
    "a misspelt key of a job": (a_job(job={"spek": {}}), "at '/jobs/run': additional properties 'spek'"),
    "a wrong type": (a_job({"retries": "two"}), "at '/platform/retries': got string, want integer"),
    "a wrong type in the spec": (
        a_job(learning_rate="fast"),
        "at '/jobs/run/spec/learning_rate': got string, want number",
    ),
    "zero workers": (a_job(resources={"num_workers": 0}), "minimum: got 0, want 1"),
    "a method that does not exist": (a_job(method="dppo"), "value must be one of 'sft', 'dpo', 'kto'"),
    "a name that is no label": (a_job(name="My Run"), "'My Run' does not match pattern"),
    "a missing name of data": (
        {"jobs": {"run": {"spec": {"method": "dpo", "name": "run"}}}},
        "missing property 'dataset_path'",
    ),
    "a submitter inside of the head": (
        a_job({"submissionMode": "SidecarMode"}),
        "value must be one of 'HTTPMode', 'K8sJobMode'",
    ),
    "bounds in the wrong order": (
        a_job(resources={"num_workers": {"min": 4, "max": 2}}),
        "jobs.run: resources.num_workers: needs 1 <= min <= max, got min 4, max 2.",
    ),
    "neither spec nor file": (
        {"jobs": {"run": {"restart": 1}}},
        "jobs.run: has neither spec nor specFile. Write the spec under spec, or pass --set-file",
    ),
    "both spec and file": (a_job(job={"specFile": "x"}), "jobs.run: has both spec and specFile. Keep one."),
    "a file that is no YAML": (
        {"jobs": {"run": {"specFile": "a: [1"}}},
        "jobs.run: the spec is not a YAML mapping:",
    ),
    "a file that holds a list": (
        {"jobs": {"run": {"specFile": "- a\n- b\n"}}},
        "jobs.run: the spec is not a YAML mapping:",
    ),
    "a file without a method": (
        {"jobs": {"run": {"specFile": "name: run\n"}}},
        "jobs.run: the spec has no method. Check the file with: tadrib validate FILE",
    ),
    "a file whose name is a number": (
        {"jobs": {"run": {"specFile": "method: dpo\nname: 12\ndataset_path: d\n"}}},
        "jobs.run: the spec's name must be at most 40 lower-case letters",
    ),
    "a file with half a worker": (
        {
            "jobs": {
                "run": {
                    "specFile": "method: dpo\nname: run\ndataset_path: d\nresources: {num_workers: 1.5}\n"
                }
            }
        },
        'jobs.run: resources.num_workers must be a whole number, got "1.5".',
    ),
    "a directory without a volume": (
        {"jobs": a_job()["jobs"]},
        'jobs.run: storage_path "./runs" is a directory, but no shared volume is mounted',
    ),
    "a directory beside the volume": (
        a_job(storage_path="/mnt/tadrib-old/runs"),
        'storage_path "/mnt/tadrib-old/runs" is outside /mnt/tadrib, where the volume is mounted.',
    ),
    "a range of workers without an autoscaler": (
        a_job({"autoscaler": {"enabled": False}}, resources={"num_workers": {"min": 1, "max": 2}}),
        "is {min: 1, max: 2}, but the platform has no autoscaler. Give one number",
    ),
    "a drain that outlasts the grace period": (
        a_job({"grace": {"drainSeconds": 115}}),
        "drainSeconds (115) must be at least 10 below terminationSeconds (120), or Kubernetes kills the pod",
    ),
    "KAI with a submitter": (
        a_job({**KAI, "submissionMode": "K8sJobMode"}),
        "K8sJobMode, but KubeRay refuses it with KAI, whose gang would wait for the submitter",
    ),
    "a queue without its kind": (
        a_job({"queue": {"name": "q"}}),
        "but kind is none, so it would have no effect",
    ),
    "a queue without its name": (
        a_job({"queue": {"kind": "kueue"}}),
        "kind is kueue, but name is empty. Give the queue's name: for kueue, a LocalQueue",
    ),
    "a priority that KAI does not read": (
        a_job({"queue": {**KAI["queue"], "priority": "high"}}),
        "kai does not read a priority from the job's labels.",
    ),
    "a topology that YuniKorn does not read": (
        a_job(
            {"queue": {"kind": "yunikorn", "name": "q", "topology": {"mode": "required", "level": "rack"}}}
        ),
        "yunikorn does not read it from a RayJob.",
    ),
    "a topology without a level": (
        a_job({"queue": {**KUEUE, "topology": {"mode": "required"}}}),
        "mode is set, but level is empty.",
    ),
    "a topology of Kueue with a range of workers": (
        a_job(
            {"queue": {**KUEUE, "topology": {"mode": "required", "level": "rack"}}},
            resources={"num_workers": {"min": 1, "max": 2}},
        ),
        "kueue does not place elastic jobs by topology without an alpha feature",
    ),
    "a tier of Volcano that is a label": (
        a_job({"queue": {"kind": "volcano", "name": "q", "topology": {"mode": "required", "level": "rack"}}}),
        'volcano requires the number of the highest tier, got "rack".',
    ),
    "a credential by its name": (
        a_job({"env": {"HF_TOKEN": "x"}}),
        "platform.env.HF_TOKEN looks like a credential, and everybody who can read the RayJob could read it.",
    ),
    "a credential by its look": (a_job({"env": {"NOTE": FAKE_TOKEN}}), "platform.env.NOTE looks like a"),
    "a credential in the spec": (
        a_job(dataset_path=f"https://user:{FAKE_TOKEN}@host/x"),
        "jobs.run: spec.dataset_path contains something that looks like a credential, which would be stored in a",
    ),
    "a credential elsewhere on the platform": (
        a_job({"serviceAccount": {"annotations": {"for": "s3://me:hunter2@bucket"}}}),
        "platform.serviceAccount.annotations.for looks like a credential",
    ),
    "a variable that KubeRay sets": (
        a_job({"env": {"RAY_ADDRESS": "x"}}),
        "platform.env.RAY_ADDRESS: this variable is set by KubeRay or by this chart.",
    ),
    "another one that KubeRay sets": (
        a_job({"env": {"REDIS_USERNAME": "x"}}),
        "platform.env.REDIS_USERNAME: this variable is set by KubeRay or by this chart.",
    ),
    "a variable of workers that this chart sets": (
        a_job({"nccl": {"RAY_JOB_STOP_WAIT_TIME_S": 5}}),
        "platform.nccl.RAY_JOB_STOP_WAIT_TIME_S: this variable is set by KubeRay or by this chart.",
    ),
    "a variable from a Secret that KubeRay sets": (
        a_job({"secrets": [{"env": "RAY_REDIS_ADDRESS", "secret": "s", "key": "k"}]}),
        "platform.secrets[0]: RAY_REDIS_ADDRESS: this variable is set by KubeRay or by this chart.",
    ),
    "tokens with a Ray that knows none": (
        a_job({"rayVersion": "2.51.3"}),
        "platform.rayVersion: 2.51.3, but Ray requires tokens only since 2.52.0, so KubeRay refuses it with auth.",
    ),
    "shared memory in bytes": (a_job({"shm": {"size": "1000000"}}), "at '/platform/shm/size'"),
}


@pytest.mark.parametrize(("values", "said"), REFUSED.values(), ids=REFUSED)
def test_helm_refuses(values, said, tmp_path):
    text = refused("training-job", values, tmp_path)
    assert said in text
    assert FAKE_TOKEN not in text
    assert "hunter2" not in text


@pytest.mark.parametrize("line", credentials.REFUSED)
def test_helm_refuses_a_credential_in_a_spec_file_as_the_launcher_does(line, tmp_path):
    """The schema does not see a spec that is given as a file."""
    where, secret = credentials.REFUSED[line]
    text = refused("training-job", a_job_of_text(f"method: dpo\nname: run\n{line}\n"), tmp_path)
    assert f"jobs.run: spec.{where} contains something that looks like a credential" in text
    assert secret not in text


def test_helm_refuses_a_credential_in_a_comment(tmp_path):
    values = a_job_of_text(f"method: dpo\nname: run\ndataset_path: d\n# {credentials.TOKEN}\n")
    assert "jobs.run: the text of the spec contains something" in refused("training-job", values, tmp_path)


@pytest.mark.parametrize("line", credentials.ORDINARY)
def test_helm_takes_what_only_sounds_like_one(line, tmp_path):
    lines = {"dataset_path": "dataset_path: d", line.split(":")[0]: line}
    values = a_job_of_text("method: sft\nname: run\n" + "\n".join(lines.values()) + "\n")
    assert one(render("training-job", values, tmp_path), "RayJob")


@pytest.mark.parametrize(
    "platform", [{"rayVersion": "2.52.0"}, {"rayVersion": "2.51.3", "auth": {"enabled": False}}]
)
def test_a_ray_that_knows_tokens_or_needs_none_is_taken(platform, tmp_path):
    assert problems(one(render("training-job", a_job(platform), tmp_path), "RayJob")) == []


def a_job_of_text(text):
    values = a_job()
    values["jobs"]["run"] = {"specFile": text}
    return values


def test_two_jobs_may_not_write_one_run_directory(tmp_path):
    values = a_job()
    values["jobs"]["again"] = copy.deepcopy(values["jobs"]["run"])
    text = refused("training-job", values, tmp_path)
    assert "jobs.again and jobs.run both write the run directory ./runs/run. Give one of them another" in text


def test_claims_of_gpus_need_kubernetes_1_34(tmp_path):
    values = a_job({"gpu": {"dra": {"enabled": True}}}, resources=GPUS)
    text = refused("training-job", values, tmp_path, kube="1.33.2")
    assert "claims require Kubernetes 1.34 (resource.k8s.io/v1), but this is v1.33.2." in text
    assert "Set dra.enabled: false to request nvidia.com/gpu instead." in text


def test_an_old_kubernetes_is_refused(tmp_path):
    assert "chart requires kubeVersion: >=1.31.0-0" in refused(
        "training-job", a_job(), tmp_path, kube="1.30.0"
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"workerGroups": {"a": {"min": 3, "max": 2}}}, "workerGroups.a: min (3) must be <= max (2)."),
        ({"workerGroups": {"Big": {}}}, "additional properties 'Big' not allowed"),
        ({"jobs": {}}, "additional properties 'jobs' not allowed"),
        ({"platform": {"retries": 1}}, "additional properties 'retries' not allowed"),
        (
            {"workerGroups": {"cpu": {"min": 1, "max": 2}}, "platform": {"autoscaler": {"enabled": False}}},
            "a group has max above min, but platform.autoscaler.enabled is false.",
        ),
    ],
)
def test_helm_refuses_for_a_shared_cluster(values, said, tmp_path):
    assert said in refused("ray-cluster", values, tmp_path)


def test_a_release_without_jobs_makes_nothing_and_says_how_to_add_one():
    done = helm("install", "r", str(CHARTS / "training-job"), "--dry-run=client", "-n", "team-a")
    assert done.returncode == 0, messages(done)
    assert "There are no jobs, so no RayJob was created." in done.stdout
    assert "kind: RayJob" not in done.stdout


@pytest.mark.parametrize("name", ["yes", "no", "on", "12", "0x1f", "1e5", "null", "007", "true"])
def test_a_name_that_helm_does_not_take_for_text_is_refused_with_the_way_out(name, tmp_path):
    said = refused("training-job", a_job_of_text(f"method: sft\nname: {name}\ndataset_path: d\n"), tmp_path)
    assert "which Helm does not read as text. Put it in quotes." in said
    quoted = a_job_of_text(f'method: sft\nname: "{name}"\ndataset_path: d\n')
    assert one(render("training-job", quoted, tmp_path), "RayJob")


def test_a_name_that_is_a_date_is_a_text_to_helm_as_well(tmp_path):
    values = a_job_of_text("method: sft\nname: 2026-01-01\ndataset_path: d\n")
    job = one(render("training-job", values, tmp_path), "RayJob")
    assert job["metadata"]["name"].startswith("r2026-01-01-")
