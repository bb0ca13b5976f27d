# SPDX-License-Identifier: Apache-2.0
"""logs and stop on Kubernetes, against a real HTTP server and by the real client."""

from __future__ import annotations

from tests.kubernetes.heads import JOBS, PROGRESS, RUNNING
from tests.kubernetes.recorded import CLUSTER, NAME, all_ready, pod, rayjob, workload

# --- logs


def test_logs_are_the_drivers_without_rays_heading(running, tadrib):
    done = tadrib("logs", "arabic-dpo", "-k")
    assert (done.code, done.out) == (0, "[0:01] training  step 1/100  قطار\n")
    assert running.commands == [
        ["tail", "-c", "+1", "/tmp/ray/session_latest/logs/job-driver-arabic-dpo-9x.log"]
    ]


def test_logs_of_a_worker_are_asked_of_the_run_directory(running, tadrib):
    assert tadrib("logs", "arabic-dpo", "-k", "--worker", "1").out == "loss nan\n"
    done = tadrib("logs", "arabic-dpo", "-k", "--worker", "9")
    assert (done.code, "no such log" in done.err) == (2, True)


def test_logs_come_from_the_submitters_pod_where_commands_may_not_be_run(cluster, tadrib):
    job = rayjob("Running", spec={"submissionMode": "K8sJobMode"}, **RUNNING)
    submitter = pod("submitter", phase="Running")
    cluster.add(job, *all_ready(), submitter)
    cluster.refusals[f"/api/v1/namespaces/team-a/pods/{CLUSTER}-head-0"] = 403
    cluster.logs[submitter["metadata"]["name"]] = b"from the submitter\n"
    assert tadrib("logs", "arabic-dpo", "-k").out == "from the submitter\n"


def test_logs_of_a_run_whose_pods_are_gone_are_what_ray_kept(cluster, tadrib):
    message = (
        "Job entrypoint command failed with exit code 1, last available logs (truncated to 20,000 chars):\n"
    )
    message += "the end\n"
    cluster.add(rayjob("Failed", jobStatus="FAILED", reason="AppFailed", message=message))
    assert tadrib("logs", "arabic-dpo", "-k").out == "the end\n"
    cluster.add(rayjob("Complete", jobStatus="SUCCEEDED"))
    done = tadrib("logs", "arabic-dpo", "-k")
    assert done.code == 2
    assert "Logs are kept in the run directory" in done.err


# --- stop


def end(cluster, **status):
    """Have the RayJob end after the driver was asked to stop."""

    def happen(method, path):
        if path == JOBS and any("exec" in asked for _, asked in cluster.requests):
            cluster.objects[f"{JOBS}/{NAME}"]["status"] |= status

    cluster.on_request = happen


def test_stop_asks_the_driver_and_keeps_kuberay_from_starting_it_again(running, cluster, tadrib):
    message = (
        "Job entrypoint command failed with exit code 130, last available logs (truncated to 20,000 chars):\n"
    )
    end(cluster, jobStatus="FAILED", jobDeploymentStatus="Failed", reason="AppFailed", message=message)
    running.progress = {**PROGRESS, "state": "stopped", "steps_done": 41}
    done = tadrib("stop", "arabic-dpo", "-k")
    assert done.code == 130
    assert done.out.startswith("■ arabic-dpo was stopped: step 41 of 100")
    assert "asking arabic-dpo to save a checkpoint and stop" in done.err
    assert ["tadrib", "stop", "runs/arabic-dpo", "--timeout", "2"] in running.commands
    assert cluster.objects[f"{JOBS}/{NAME}"]["spec"]["backoffLimit"] == 0
    patched = cluster.requests.index(("PATCH", f"{JOBS}/{NAME}"))
    asked = [i for i, (_, path) in enumerate(cluster.requests) if path.endswith("/exec")]
    assert patched < asked[0]


def test_stop_leaves_a_run_that_has_ended_alone(cluster, tadrib):
    cluster.add(rayjob("Complete", jobStatus="SUCCEEDED"))
    assert tadrib("stop", "arabic-dpo", "-k").code == 0
    assert {method for method, _ in cluster.requests} == {"GET"}


def test_stop_deletes_a_run_that_waits(cluster, tadrib):
    cluster.add(rayjob("Suspended", queue="gpu", spec={"suspend": True}), workload())
    done = tadrib("stop", "arabic-dpo", "-k")
    assert done.code == 130
    assert "its RayJob arabic-dpo-1a2b3c was deleted" in done.out
    assert f"{JOBS}/{NAME}" not in cluster.objects
    assert tadrib("status", "arabic-dpo", "-k").code == 2


def test_stop_deletes_a_run_whose_driver_may_not_be_asked_and_waits_for_its_pods(running, cluster, tadrib):
    cluster.refusals[f"/api/v1/namespaces/team-a/pods/{CLUSTER}-head-0"] = 403
    done = tadrib("stop", "arabic-dpo", "-k", "--timeout", "1")
    assert done.code == 1
    assert "its pods still exist" in done.err
    assert f"{JOBS}/{NAME}" not in cluster.objects


def test_a_run_that_does_not_stop_goes_on_unless_it_is_forced(running, cluster, tadrib):
    done = tadrib("stop", "arabic-dpo", "-k", "--timeout", "0.1")
    assert done.code == 1
    assert "is still running after 0.1 seconds" in done.err
    assert f"{JOBS}/{NAME}" in cluster.objects

    def pods_go(method, path):
        if method == "DELETE":
            for each in [at for at in cluster.objects if "/pods/" in at]:
                del cluster.objects[each]

    cluster.on_request = pods_go
    done = tadrib("stop", "arabic-dpo", "-k", "--timeout", "0.1", "--force")
    assert done.code == 130
    assert f"{JOBS}/{NAME}" not in cluster.objects
