# SPDX-License-Identifier: Apache-2.0
"""What each setting of the platform does, on the values file of ci/ that has it."""

from __future__ import annotations

from tests.charts.helm import CHARTS, a_job, of_kind, one, render, render_file
from tests.charts.jobs import case, group_of, head_of, limits_of, workers_of
from tests.charts.pods import containers, environment, templates

DEFAULT_MEMORY = "8Gi"


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


def test_a_token_of_ones_own_is_named(tmp_path):
    job = one(render("training-job", a_job({"auth": {"secret": "ray-token"}}), tmp_path), "RayJob")
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "ray-token"}


def test_relative_paths_of_a_spec_start_at_the_volume():
    container = containers(head_of(case("per-job")))[0]
    assert container["workingDir"] == "/data"
    assert {"name": "storage", "mountPath": "/data"} in container["volumeMounts"]


def test_deadlines_are_set_unless_a_gang_scheduler_makes_pods_wait():
    plain, gang = case("smallest")["spec"], case("volcano")["spec"]
    assert (plain["preRunningDeadlineSeconds"], plain["activeDeadlineSeconds"]) == (1800, 604800)
    assert "preRunningDeadlineSeconds" not in gang
    assert "activeDeadlineSeconds" not in case("open")["spec"]


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


def test_the_service_account_is_that_of_the_platform():
    objects = render_file("training-job", CHARTS / "training-job" / "ci" / "workload-identity-values.yaml")
    account = one(objects, "ServiceAccount")
    assert account["metadata"]["annotations"]["iam.gke.io/gcp-service-account"].startswith("trainer@")
    for _, pod in templates(one(objects, "RayJob")):
        assert pod["spec"]["serviceAccountName"] == "trainer" == account["metadata"]["name"]


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


def test_ray_knows_the_platforms_environment_and_labels():
    pod = head_of(case("per-job"))
    assert environment(pod)["HF_HUB_OFFLINE"]["value"] == "1"
    assert pod["metadata"]["labels"]["team"] == "arabic"
    assert pod["metadata"]["annotations"]["example.com/cost-center"] == "7"
