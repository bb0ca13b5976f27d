# SPDX-License-Identifier: Apache-2.0
"""What the chart training-job promises of every run, one sentence each, on every values file."""

from __future__ import annotations

import json
import re

import pytest

from tests.charts.helm import CHARTS, of_kind, render_file
from tests.charts.jobs import TRAINING_FILES, head_of, limits_of, workers_of
from tests.charts.pods import containers, environment, templates


@pytest.fixture(params=TRAINING_FILES, ids=[path.stem for path in TRAINING_FILES])
def jobs(request):
    return of_kind(render_file("training-job", request.param), "RayJob")


def test_head_runs_no_worker_and_has_no_gpu(jobs):
    for job in jobs:
        head = job["spec"]["rayClusterSpec"]["headGroupSpec"]
        assert head["rayStartParams"]["num-cpus"] == "0"
        assert set(limits_of(head_of(job))) == {"cpu", "memory"}
        assert environment(head_of(job))["NVIDIA_VISIBLE_DEVICES"]["value"] == "void"


def test_head_has_the_memory_that_ray_needs(jobs):
    for job in jobs:
        assert int(limits_of(head_of(job))["memory"].removesuffix("Gi")) >= 5


def test_requests_equal_limits_everywhere(jobs):
    for job in jobs:
        for _, pod in templates(job):
            for container in containers(pod):
                assert container["resources"]["requests"] == container["resources"]["limits"]


def test_token_auth_is_on_unless_turned_off(jobs):
    for job in jobs:
        cluster, variables = job["spec"]["rayClusterSpec"], environment(head_of(job))
        if job["metadata"]["labels"]["tadrib/run"] == "open":
            assert "authOptions" not in cluster
            assert variables["RAY_AUTH_MODE"]["value"] == "disabled"
        else:
            assert cluster["authOptions"] == {"mode": "token"}
            assert "RAY_AUTH_MODE" not in variables


def test_ray_version_of_the_cluster_is_that_of_the_requirements(jobs):
    pins = (CHARTS.parent / "trainer_image" / "requirements.in").read_text()
    (version,) = re.findall(r"^ray\[.*\]==(\S+)$", pins, re.MULTILINE)
    assert {job["spec"]["rayClusterSpec"]["rayVersion"] for job in jobs} == {version}


def test_one_image_is_used_everywhere(jobs):
    for job in jobs:
        images = {each["image"] for _, pod in templates(job) for each in containers(pod)}
        assert len(images) == 1


def test_head_and_workers_mount_the_same_storage_at_the_same_path(jobs):
    for job in jobs:
        places = []
        for pod in (head_of(job), workers_of(job)):
            volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
            mounts = {mount["name"]: mount["mountPath"] for mount in containers(pod)[0]["volumeMounts"]}
            places.append((volumes.get("storage"), mounts.get("storage"), containers(pod)[0]["workingDir"]))
        assert places[0] == places[1]


def test_nothing_but_declared_volumes_can_be_written(jobs):
    for job in jobs:
        for _, pod in templates(job):
            for container in containers(pod):
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]
                names = {each["name"]: each.get("value", "") for each in container["env"]}
                assert names["HOME"] == "/tmp"


def test_drain_timeout_is_below_the_grace_period(jobs):
    for job in jobs:
        for pod in (head_of(job), workers_of(job)):
            drain = int(environment(pod)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]["value"])
            assert 0 < drain <= pod["spec"]["terminationGracePeriodSeconds"] - 10


def test_a_deleted_job_is_interrupted_as_by_ctrl_c_and_given_time(jobs):
    for job in jobs:
        variables = environment(head_of(job))
        assert variables["RAY_JOB_STOP_SIGNAL"]["value"] == "SIGINT"
        assert int(variables["RAY_JOB_STOP_WAIT_TIME_S"]["value"]) >= 30


def test_a_failed_start_is_repeated_and_a_finished_one_cleaned_up(jobs):
    for job in jobs:
        spec = job["spec"]
        assert spec["backoffLimit"] >= 1
        assert spec["shutdownAfterJobFinishes"] is True
        assert spec["ttlSecondsAfterFinished"] == 60
        assert "deletionStrategy" not in spec
        assert "suspend" not in spec, "Kueue owns it"


def test_the_entrypoint_is_one_command_of_plain_words(jobs):
    for job in jobs:
        run = job["metadata"]["labels"]["tadrib/run"]
        command, *added = job["spec"]["entrypoint"].split(".yaml ")
        assert command.removesuffix(".yaml") == f"tadrib launch /etc/tadrib/{run}"
        assert added == (["resources.workers_per_node=8"] if run == "whole-nodes" else [])
        assert "runtimeEnvYAML" not in job["spec"], "nothing is installed at start"
        assert job["spec"]["metadata"] == {"tadrib.run": run}


def test_no_pod_gets_a_token_of_the_cluster_but_the_autoscaler(jobs):
    for job in jobs:
        for role, pod in templates(job):
            assert pod["spec"]["automountServiceAccountToken"] is False
            for container in containers(pod):
                mounted = [m for m in container["volumeMounts"] if m["name"] == "kubernetes-api"]
                assert bool(mounted) == (container["name"] == "autoscaler"), (role, container["name"])


def test_no_secret_is_made_and_no_variable_that_names_one_has_a_value(jobs):
    for job in jobs:
        for _, pod in templates(job):
            for container in containers(pod):
                for variable in container["env"]:
                    secret = re.search(r"(?i)token|secret|password|key(_id)?$", variable["name"])
                    assert not secret or "value" not in variable, variable["name"]


@pytest.mark.parametrize("values", TRAINING_FILES, ids=[path.stem for path in TRAINING_FILES])
def test_no_object_is_a_secret_or_opens_a_port_to_the_outside(values):
    kinds = {thing["kind"] for thing in render_file("training-job", values)}
    assert kinds <= {
        *("RayJob", "ConfigMap", "ServiceAccount", "NetworkPolicy", "Pod", "ResourceClaimTemplate"),
    }


def test_ports_for_prometheus_are_named(jobs):
    for job in jobs:
        ports = {port["name"]: port["containerPort"] for port in containers(head_of(job))[0]["ports"]}
        assert ports == {
            **{"gcs-server": 6379, "dashboard": 8265, "metrics": 8080},
            **{"as-metrics": 44217, "dash-metrics": 44227},
        }
        assert containers(workers_of(job))[0]["ports"] == [{"name": "metrics", "containerPort": 8080}]


def test_autoscalers_of_nodes_leave_the_pods_of_a_run_where_they_are(jobs):
    for job in jobs:
        for pod in (head_of(job), workers_of(job)):
            annotations = pod["metadata"]["annotations"]
            assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
            assert annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_every_rendered_object_is_plain_json(jobs):
    assert json.loads(json.dumps(jobs)) == jobs
