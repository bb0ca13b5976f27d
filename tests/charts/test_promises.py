# SPDX-License-Identifier: Apache-2.0
"""What the chart training-job promises, one sentence each, on every values file or on the one that asks for it."""

from __future__ import annotations

import json
import re

import pytest

from tests.charts.helm import CHARTS, EXAMPLES, JOB_VALUES, PRESETS, a_job, of_kind, one, render, render_file
from tests.charts.kuberay_rules import shell_words
from tests.charts.pods import containers, environment, templates

TRAINING_FILES = [*PRESETS, *JOB_VALUES]
DEFAULT_MEMORY = "8Gi"


@pytest.fixture(params=TRAINING_FILES, ids=[path.stem for path in TRAINING_FILES])
def jobs(request):
    return of_kind(render_file("training-job", request.param), "RayJob")


def case(name):
    """The RayJob of a values file of ci/."""
    return one(render_file("training-job", CHARTS / "training-job" / "ci" / f"{name}-values.yaml"), "RayJob")


def head_of(job):
    return dict(templates(job))["head"]


def workers_of(job):
    return dict(templates(job))["worker workers"]


def group_of(job):
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    return group


def limits_of(pod):
    return pod["spec"]["containers"][0]["resources"]["limits"]


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


def test_gpus_are_requested_on_every_worker():
    assert limits_of(workers_of(case("gpu")))["nvidia.com/gpu"] == "1"
    assert group_of(case("gpu"))["rayStartParams"]["num-gpus"] == "1"


def test_ray_is_told_of_gpus_whose_resource_name_it_does_not_know():
    group = group_of(case("mig"))
    assert limits_of(group["template"])["nvidia.com/mig-1g.10gb"] == "1"
    assert group["rayStartParams"]["num-gpus"] == "1"


def test_a_run_on_cpu_asks_for_no_gpu_and_tolerates_no_taint_of_gpus():
    worker = workers_of(case("smallest"))
    assert limits_of(worker) == {"cpu": "1", "memory": DEFAULT_MEMORY}
    assert "tolerations" not in worker["spec"]


def test_gpu_placement_is_that_of_the_platform():
    worker, head = workers_of(case("gpu"))["spec"], head_of(case("gpu"))["spec"]
    assert worker["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert worker["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert worker["runtimeClassName"] == "nvidia"
    assert head["nodeSelector"] == {"node-role": "cpu"}
    assert [each["key"] for each in head["tolerations"]] == ["dedicated"]
    assert "runtimeClassName" not in head
    assert {head["priorityClassName"], worker["priorityClassName"]} == {"training"}


def test_gpus_of_dynamic_resource_allocation_are_claimed_and_counted_by_ray():
    objects = render_file("training-job", CHARTS / "training-job" / "ci" / "dra-values.yaml")
    job, template = one(objects, "RayJob"), one(objects, "ResourceClaimTemplate")
    pod = workers_of(job)["spec"]
    assert template["spec"]["spec"]["devices"]["requests"][0]["exactly"]["count"] == 1
    assert pod["resourceClaims"] == [
        {"name": "gpu", "resourceClaimTemplateName": template["metadata"]["name"]}
    ]
    assert pod["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
    assert "nvidia.com/gpu" not in limits_of(workers_of(job))
    assert group_of(job)["rayStartParams"]["num-gpus"] == "1"


def test_token_auth_is_on_unless_turned_off(jobs):
    for job in jobs:
        cluster, variables = job["spec"]["rayClusterSpec"], environment(head_of(job))
        if job["metadata"]["labels"]["tadrib/run"] == "open":
            assert "authOptions" not in cluster
            assert variables["RAY_AUTH_MODE"]["value"] == "disabled"
        else:
            assert cluster["authOptions"] == {"mode": "token"}
            assert "RAY_AUTH_MODE" not in variables


def test_a_token_of_ones_own_is_named(tmp_path):
    job = one(render("training-job", a_job({"auth": {"secret": "ray-token"}}), tmp_path), "RayJob")
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "ray-token"}


def test_ray_version_of_the_cluster_is_that_of_the_requirements(jobs):
    pins = (CHARTS.parent / "trainer_image" / "requirements.in").read_text()
    version = re.search(r"^ray\[.*\]==(\S+)$", pins, re.MULTILINE)[1]
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


def test_relative_paths_of_a_spec_start_at_the_volume():
    container = containers(head_of(case("per-job")))[0]
    assert container["workingDir"] == "/data"
    assert {"name": "storage", "mountPath": "/data"} in container["volumeMounts"]


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


def test_deadlines_are_set_unless_a_gang_scheduler_makes_pods_wait():
    plain, gang = case("smallest")["spec"], case("volcano")["spec"]
    assert (plain["preRunningDeadlineSeconds"], plain["activeDeadlineSeconds"]) == (1800, 604800)
    assert "preRunningDeadlineSeconds" not in gang
    assert "activeDeadlineSeconds" not in case("open")["spec"]


def test_the_entrypoint_is_one_command_without_a_shells_characters(jobs):
    for job in jobs:
        run = job["metadata"]["labels"]["tadrib/run"]
        assert job["spec"]["entrypoint"] == f"tadrib launch /etc/tadrib/{run}.yaml"
        assert shell_words(job["spec"]["entrypoint"]) == ""
        assert "runtimeEnvYAML" not in job["spec"], "nothing is installed at start"
        assert job["spec"]["metadata"] == {"tadrib.run": run}


def test_a_submitter_pod_exists_only_where_it_is_asked_for():
    job = case("kueue-submitter")
    assert job["spec"]["submissionMode"] == "K8sJobMode"
    (container,) = containers(dict(templates(job))["submitter"])
    assert "command" not in container, "KubeRay writes it"
    assert set(limits_of(dict(templates(job))["submitter"])) == {"cpu", "memory"}
    assert "submitterPodTemplate" not in case("kueue")["spec"]


def test_shared_memory_has_the_size_that_is_set_and_holds_rays_object_store():
    job = case("gpu")
    for pod in (head_of(job), workers_of(job)):
        (shm,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "shm"]
        assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], group_of(job)):
        assert group["rayStartParams"]["object-store-memory"] == str(8 * 1024**3)
    assert "object-store-memory" not in group_of(case("smallest"))["rayStartParams"]


def test_no_pod_gets_a_token_of_the_cluster_but_the_autoscaler(jobs):
    for job in jobs:
        for role, pod in templates(job):
            assert pod["spec"]["automountServiceAccountToken"] is False
            for container in containers(pod):
                mounted = [m for m in container["volumeMounts"] if m["name"] == "kubernetes-api"]
                assert bool(mounted) == (container["name"] == "autoscaler"), (role, container["name"])


def test_only_a_run_with_a_range_of_workers_gets_an_autoscaler():
    cluster = case("elastic")["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2", "KubeRay sees it only where it is written"
    group = group_of(case("elastic"))
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (2, 2, 8)
    assert "enableInTreeAutoscaling" not in case("gpu")["spec"]["rayClusterSpec"]


def test_rdma_devices_networks_and_nccl_reach_workers_alone():
    job = case("rdma")
    assert limits_of(workers_of(job))["rdma/ib"] == "1"
    assert workers_of(job)["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"] == "default/ib0"
    assert environment(workers_of(job))["NCCL_IB_GID_INDEX"]["value"] == "3"
    assert "NCCL_IB_HCA" not in environment(head_of(job))
    assert "rdma/ib" not in limits_of(head_of(job))


def test_secrets_are_read_from_secrets_in_head_and_workers():
    job = case("object-store")
    for pod in (head_of(job), workers_of(job)):
        token = environment(pod)["HF_TOKEN"]
        assert token == {
            "name": "HF_TOKEN",
            "valueFrom": {"secretKeyRef": {"name": "huggingface", "key": "token"}},
        }
        assert environment(pod)["AWS_ENDPOINT_URL_S3"]["value"] == "https://minio.storage.svc:9000"


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


def test_the_service_account_is_that_of_the_platform():
    objects = render_file("training-job", CHARTS / "training-job" / "ci" / "workload-identity-values.yaml")
    account = one(objects, "ServiceAccount")
    assert account["metadata"]["annotations"]["iam.gke.io/gcp-service-account"].startswith("trainer@")
    for _, pod in templates(one(objects, "RayJob")):
        assert pod["spec"]["serviceAccountName"] == "trainer" == account["metadata"]["name"]


def test_ports_for_prometheus_are_named(jobs):
    for job in jobs:
        ports = {port["name"]: port["containerPort"] for port in containers(head_of(job))[0]["ports"]}
        assert ports == {
            **{"gcs-server": 6379, "dashboard": 8265, "metrics": 8080},
            **{"as-metrics": 44217, "dash-metrics": 44227},
        }
        assert containers(workers_of(job))[0]["ports"] == [{"name": "metrics", "containerPort": 8080}]


def test_what_differs_for_a_job_differs_for_it_alone(tmp_path):
    values = a_job({"gpu": {"nodeSelector": {"zone": "a"}}, "retries": 1}, resources={"gpus_per_worker": 1})
    other = {
        **values["jobs"]["run"],
        "platform": {"retries": 7, "gpu": {"nodeSelector": {"zone": "b"}}, "head": {"memory": "16Gi"}},
    }
    values["jobs"]["other"] = {**other, "spec": {**other["spec"], "name": "other"}}
    jobs = of_kind(render("training-job", values, tmp_path), "RayJob")
    found = {
        job["metadata"]["labels"]["tadrib/run"]: (
            job["spec"]["backoffLimit"],
            workers_of(job)["spec"]["nodeSelector"],
            limits_of(head_of(job)),
        )
        for job in jobs
    }
    assert found == {
        "run": (1, {"zone": "a"}, {"cpu": "2", "memory": "8Gi"}),
        "other": (7, {"zone": "b"}, {"cpu": "2", "memory": "16Gi"}),
    }


def test_autoscalers_of_nodes_leave_the_pods_of_a_run_where_they_are(jobs):
    for job in jobs:
        for pod in (head_of(job), workers_of(job)):
            annotations = pod["metadata"]["annotations"]
            assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
            assert annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_ray_knows_the_platforms_environment_and_labels():
    pod = head_of(case("per-job"))
    assert environment(pod)["HF_HUB_OFFLINE"]["value"] == "1"
    assert pod["metadata"]["labels"]["team"] == "arabic"
    assert pod["metadata"]["annotations"]["example.com/cost-center"] == "7"


def test_every_rendered_object_is_plain_json(jobs):
    assert json.loads(json.dumps(jobs)) == jobs


def test_examples_are_at_hand():
    assert len(EXAMPLES) >= 7
