# SPDX-License-Identifier: Apache-2.0
"""Submission to a real cluster of a head and two nodes, all on this machine, with token auth on."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tadrib.ray_jobs.authentication import use_token
from tadrib.ray_jobs.cluster.follow import follow_job
from tadrib.ray_jobs.cluster.jobs import RUN, RUN_DIRECTORY, SPEC, JobServer
from tests.ray.clusters import BIN, RayCluster
from tests.ray.proxy import Proxy
from tests.tiny import tiny_model, write_rows

pytestmark = pytest.mark.slow


# a driver that holds the lock and never looks for a stop file
DEAF = """
import sys, time
from tadrib.training.run.holder import Holder
with open(sys.argv[1], "w") as file:
    file.write(Holder.of_this_process().model_dump_json())
time.sleep(600)
"""


def write_spec(folder: Path, name: str, **changes) -> Path:
    """A spec whose paths are all relative to ``folder``."""
    if not (folder / "tiny").exists():
        shutil.copytree(tiny_model(), folder / "tiny")
        write_rows(folder / "train.jsonl", "sft_train.jsonl", 64)
    spec = {
        "method": "sft",
        "name": name,
        "model_name": "./tiny",
        "dataset_path": "train.jsonl",
        "max_seq_length": 256,
        "torch_dtype": "float32",
        "gradient_checkpointing": False,
        "use_lora": False,
        "max_steps": 4,
        "logging_steps": 1,
        "resources": {"num_workers": 2},
        **changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(f"# عربي 'quoted' \"twice\" $HOME `date`\n{json.dumps(spec)}\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture
def server(cluster) -> Iterator[JobServer]:
    """The cluster's jobs, spoken to from this process, which otherwise has no token."""
    before = {**os.environ}
    os.environ.update({name: cluster.environment[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")})
    yield JobServer(cluster.url)
    os.environ.clear()
    os.environ.update(before)
    use_token()


def a_job(server: JobServer, name: str, entrypoint: str, folder: Path) -> str:
    """Submit a job that says it is of a run, as `tadrib submit` would."""
    return server.submit(entrypoint, f"{name}-1", {RUN: name, RUN_DIRECTORY: str(folder / name), SPEC: "{}"})


def until(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_a_spec_is_submitted_followed_and_finished_on_two_nodes(cluster, project):
    spec = write_spec(project, "first")

    done = cluster.tadrib("submit", spec.name, "--address", cluster.url, cwd=project)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith(f"first-1 has been submitted: {cluster.url}\nfirst: sft of ./tiny")
    assert "✓ first succeeded" in done.stdout
    run = project / "runs" / "first"
    assert done.stdout.endswith(f"first-1 succeeded: {run}\n")
    result = json.loads((run / "result.json").read_text())
    assert (result["status"], result["steps_done"], result["num_workers"]) == ("succeeded", 4, 2)
    again = cluster.tadrib("submit", spec.name, "--address", cluster.url, cwd=project)
    assert again.returncode == 0
    assert "It has finished" in again.stdout


def test_nothing_but_the_text_of_the_spec_travels(cluster, project, server):
    job = server.jobs("first")[0]
    assert job.runtime_env == {}
    assert "عربي 'quoted' \"twice\" $HOME `date`" in job.entrypoint
    assert cluster.token_file.read_text() not in job.model_dump_json()


def test_a_run_is_asked_about_by_name_or_directory(cluster, project):
    by_name = cluster.tadrib("status", "first", "--address", cluster.url, cwd=project)
    assert by_name.returncode == 0
    assert by_name.stdout.startswith("✓ first succeeded: step 4 of 4 in ")
    directory = str(project / "runs" / "first")
    assert cluster.tadrib("status", directory, "--address", cluster.url, cwd=project).returncode == 0
    told = json.loads(
        cluster.tadrib("status", "first", "--json", "--address", cluster.url, cwd=project).stdout
    )
    assert (told["state"], told["exit_code"], told["steps_done"]) == ("succeeded", 0, 4)
    for command in ("status", "list"):
        everything = cluster.tadrib(command, "--json", cwd=project, RAY_API_SERVER_ADDRESS=cluster.url)
        assert everything.returncode == 0
        (listed,) = json.loads(everything.stdout)
        assert listed.keys() == told.keys()
        assert (listed["name"], listed["state"], listed["method"], listed["start"]) == (
            "first",
            "succeeded",
            "sft",
            "./tiny",
        )
        assert listed["loss"] == told["loss"] > 0
    log = cluster.tadrib("logs", "first", "--address", cluster.url, cwd=project)
    assert "first: sft of ./tiny" in cluster.tadrib("logs", directory, cwd=project).stdout
    assert "It has finished" in log.stdout
    worker = cluster.tadrib("logs", "first", "--worker", "1", "--address", cluster.url, cwd=project)
    assert worker.returncode == 0
    assert worker.stdout == (project / "runs" / "first" / "logs" / "worker-1.log").read_text()
    unknown = cluster.tadrib("status", "furst", "--address", cluster.url, cwd=project)
    assert unknown.returncode == 2
    assert "knows no run named furst. It knows first." in unknown.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RAY_AUTH_TOKEN": "wrong"}, "rejects the token of RAY_AUTH_TOKEN{403}"),
        ({"RAY_AUTH_TOKEN_PATH": ""}, "requires a token{401}, and none is configured"),
        ({"RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_MODE": ""}, "requires a token{401}, and none is configured"),
        (
            {"RAY_AUTH_MODE": "disabled"},
            "requires a token{401}, and RAY_AUTH_MODE=disabled prevents Ray from sending one",
        ),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere"}, "RAY_AUTH_TOKEN_PATH=/nowhere cannot be read"),
    ],
)
def test_without_the_right_token_a_cluster_is_not_for_us(cluster, project, tmp_path, variables, said):
    spec = write_spec(project, "first")
    variables["HOME"] = str(tmp_path)

    submitted = cluster.tadrib("submit", spec.name, "--address", cluster.url, cwd=project, **variables)
    joined = cluster.tadrib(
        "launch", spec.name, "name=other", cwd=project, RAY_ADDRESS=cluster.gcs_address, **variables
    )

    for done, codes in ((submitted, {401: " (HTTP 401)", 403: " (HTTP 403)"}), (joined, {401: "", 403: ""})):
        assert done.returncode == 3, done.stdout + done.stderr
        assert said.replace("{401}", codes[401]).replace("{403}", codes[403]) in done.stderr
        assert "Set RAY_AUTH_TOKEN_PATH to a file" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_token_that_lies_where_ray_looks_is_used_without_being_asked_for(cluster, project, tmp_path):
    (tmp_path / ".ray").mkdir()
    shutil.copy(cluster.token_file, tmp_path / ".ray" / "auth_token")
    variables = {"RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_MODE": "", "HOME": str(tmp_path)}
    assert cluster.tadrib("status", "--address", cluster.url, cwd=project, **variables).returncode == 0


def test_ray_job_submit_runs_tadrib_launch_and_tells_refused_from_failed(cluster, project, server):
    spec = write_spec(project, "unknown-key", lora_rr=4)
    command = ["job", "submit", "--address", cluster.url, "--submission-id", "by-ray"]
    done = subprocess.run(
        [str(BIN / "ray"), *command, "--", "tadrib", "launch", str(spec)],
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "lora_rr: unknown key. Did you mean lora_r?" in done.stdout
    assert server.details("by-ray").driver_exit_code == 2


def test_a_spec_refused_on_the_cluster_exits_2_and_an_unreachable_cluster_3(cluster, project):
    (project / "bad.jsonl").write_text('{"instruction": "a", "response": ""}\n')
    spec = write_spec(project, "bad-rows", dataset_path="bad.jsonl")
    refused = cluster.tadrib("submit", spec.name, "--address", cluster.url, cwd=project)
    assert refused.returncode == 2
    assert "bad.jsonl:1: response" in refused.stdout
    assert "bad-rows-1 failed: it was refused before training" in refused.stderr
    away = cluster.tadrib("submit", spec.name, "--address", "http://127.0.0.1:1", cwd=project)
    assert away.returncode == 3
    assert "http://127.0.0.1:1: nothing answers there." in away.stderr


def test_the_same_spec_attaches_a_different_one_is_refused_and_a_stop_saves(cluster, project):
    spec = write_spec(project, "long", max_steps=5000)
    address = ["--address", cluster.url]
    starts = [
        subprocess.Popen(
            [str(BIN / "tadrib"), "submit", spec.name, "--no-follow", *address],
            cwd=project,
            env=cluster.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = sorted(start.communicate(timeout=120)[0].splitlines()[0] for start in starts)
    assert said == [
        f"long-1 has been submitted: {cluster.url}",
        f"long-1 is running this spec already: {cluster.url}",
    ]

    other = cluster.tadrib("submit", spec.name, "learning_rate=0.1", *address, cwd=project)
    assert other.returncode == 2
    assert "long-1 runs a different spec named long" in other.stderr
    assert "learning_rate: is 0.0002 there and 0.1 here." in other.stderr

    run = project / "runs" / "long"
    until(
        lambda: (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text().count('"loss"') > 2
    )
    status = cluster.tadrib("status", "long", *address, cwd=project)
    assert status.returncode == 0
    assert "… long is running: step " in status.stdout
    assert " of 5000, about " in status.stdout
    stopped = cluster.tadrib("stop", "long", *address, cwd=project)
    assert stopped.returncode == 130, stopped.stdout + stopped.stderr
    assert f"tadrib submit long.yaml --address {cluster.url}" in stopped.stdout
    assert cluster.tadrib("status", str(run), cwd=project).returncode == 130
    assert list((run / "checkpoints").glob("checkpoint-*"))


def test_a_driver_that_is_killed_is_no_success_however_fresh_its_heartbeat(cluster, project):
    spec = write_spec(project, "long", max_steps=5000)
    following = subprocess.Popen(
        [str(BIN / "tadrib"), "submit", spec.name, "--address", cluster.url],
        cwd=project,
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = project / "runs" / "long"
    until((run / "lock.json").exists)
    os.kill(json.loads((run / "lock.json").read_text())["pid"], signal.SIGKILL)

    _, errors = following.communicate(timeout=120)

    assert following.returncode == 1
    assert "long-2 failed: its driver was killed" in errors
    status = cluster.tadrib("status", "long", "--address", cluster.url, cwd=project)
    assert status.returncode == 1
    assert "its driver was killed" in status.stdout
    here = cluster.tadrib("status", str(run), cwd=project)
    assert here.returncode == 1
    assert "long ended without a result" in here.stdout


def test_what_ray_calls_success_needs_a_result_that_says_so(cluster, project, server):
    job = a_job(server, "did-nothing", "true", project)
    until(lambda: server.details(job).status.is_terminal())
    status = cluster.tadrib("status", "did-nothing", "--address", cluster.url, cwd=project)
    assert status.returncode == 1
    assert "no result.json confirms it" in status.stdout


def test_a_run_that_has_hardly_begun_can_be_stopped(cluster, project):
    spec = write_spec(project, "hasty", max_steps=5000)
    address = ["--address", cluster.url]
    assert cluster.tadrib("submit", spec.name, "--no-follow", *address, cwd=project).returncode == 0
    assert cluster.tadrib("status", "hasty", *address, cwd=project).returncode == 0
    assert cluster.tadrib("stop", "hasty", *address, cwd=project).returncode == 130
    result = json.loads((project / "runs" / "hasty" / "result.json").read_text())
    assert result["status"] == "stopped"


def test_a_job_that_does_not_react_is_ended_by_force_only(cluster, project, server):
    run = project / "stubborn"
    run.mkdir()
    (run / "spec.yaml").write_text("method: sft\nname: stubborn\n")
    (project / "deaf.py").write_text(DEAF)
    job = a_job(server, "stubborn", f"python {project / 'deaf.py'} {run / 'lock.json'}", project)
    until((run / "lock.json").exists)
    command = ["stop", "stubborn", "--timeout", "2", "--address", cluster.url]
    assert cluster.tadrib(*command, cwd=project).returncode == 1
    assert (run / "stop").exists()
    assert not server.details(job).status.is_terminal()
    assert cluster.tadrib(*command, "--force", cwd=project).returncode == 130
    assert server.details(job).status.value == "STOPPED"


def test_a_log_goes_on_without_repetition_when_its_connection_breaks(cluster, project, server):
    proxy = Proxy(int(cluster.url.rpartition(":")[2]))
    lines, notes = [], []
    with proxy:
        behind = JobServer(f"http://127.0.0.1:{proxy.port}")
        job = a_job(behind, "counts", "for i in $(seq 1 40); do echo line $i; sleep 0.2; done", project)

        def write(text: str) -> None:
            lines.extend(text.splitlines())
            if proxy.cuts < 4:
                proxy.cut()

        ended = follow_job(behind, behind.details(job), write, notes.append)
    assert ended.status.value == "SUCCEEDED"
    assert proxy.cuts > 0
    assert lines == [f"line {i}" for i in range(1, 41)]


@pytest.fixture
def odd_node(cluster, project, tmp_path):
    """A node with another torch, for which the project's runs folder is some other folder."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("no right to give a node a file system of its own")
    info = tmp_path / "torch-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n")
    (project / "runs").mkdir(exist_ok=True)
    hide = f'mount -t tmpfs tmpfs {project}/runs && mount -t tmpfs tmpfs {project}/tiny && exec "$@"'
    node = cluster.add_node(
        prefix=("unshare", "--mount", "sh", "-c", hide, "sh"),
        PYTHONPATH=f"{tmp_path}:{cluster.environment['PYTHONPATH']}",
    )
    yield node
    cluster.remove_node(node)


def test_a_node_that_differs_is_named_with_all_its_faults_before_workers_start(cluster, project, odd_node):
    spec = write_spec(project, "everywhere", resources={"num_workers": 3}, model_name=str(project / "tiny"))
    (project / "tiny" / "mark").touch()

    done = cluster.tadrib("submit", spec.name, "--address", cluster.url, cwd=project)

    assert done.returncode == 2, done.stdout + done.stderr
    assert "the cluster's nodes cannot run this: 2 problems" in done.stdout
    assert "has versions that differ from the driver's: torch 9.9 (driver: " in done.stdout
    assert f"does not see the run directory {project}/runs/everywhere" in done.stdout
    assert sorted(os.listdir(project / "runs" / "everywhere" / "logs")) == ["driver.log"]
    assert not list((project / "runs" / "everywhere").glob(".preflight*"))


def test_logs_and_result_are_there_when_the_whole_cluster_is_gone(cluster: RayCluster, project):
    cluster.stop()

    status = cluster.tadrib("status", "first", cwd=project)
    assert status.returncode == 0
    assert status.stdout.startswith("✓ first succeeded")
    for worker in ("0", "1"):
        log = cluster.tadrib("logs", "first", "--worker", worker, cwd=project)
        assert log.returncode == 0
        assert log.stdout == (project / "runs" / "first" / "logs" / f"worker-{worker}.log").read_text()
    assert "✓ first succeeded" in cluster.tadrib("logs", "first", cwd=project).stdout
    assert cluster.tadrib("status", "first", "--address", cluster.url, cwd=project).returncode == 3
