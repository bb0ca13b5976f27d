# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tadrib.ray_jobs.cli.comparison import compare_run
from tadrib.ray_jobs.cluster.endings import combined, failure_reason
from tadrib.ray_jobs.cluster.jobs import JobDetails
from tadrib.ray_jobs.local.runs import LocalRuns
from tadrib.ray_jobs.paths import relative_keys, require_directory, require_persistent_storage
from tadrib.ray_jobs.runs import liveness
from tadrib.ray_jobs.runs.lock import locked
from tadrib.ray_jobs.runs.lookup import find
from tadrib.ray_jobs.runs.reading import read_status
from tadrib.ray_jobs.runs.status import Status
from tadrib.training.errors import SpecError, TrainingError
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.files import RunFiles
from tests.runs.builders import lock_of, run_in, spec_of
from tests.tiny import tiny_model

ROOT = Path(__file__).parents[2]


def test_a_running_run_says_how_far_it_is_and_when_it_ends(tmp_path):
    run = run_in(tmp_path / "run", rows=15, lock=lock_of(os.getpid()), num_train_epochs=3)
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-11"):
        (tmp_path / "run" / "checkpoints" / name).mkdir(parents=True)
    for name in ("checkpoint-9", "checkpoint-10"):  # the last one was not committed
        (tmp_path / "run" / "checkpoints" / name / "manifest.json").write_text("{}")

    status = read_status(run)

    assert (status.state, status.exit_code) == ("running", 0)
    assert (status.steps_done, status.steps_planned, status.checkpoint) == (15, 30, "checkpoint-10")
    assert status.seconds_left == pytest.approx(30, abs=5)
    assert status.sentence.startswith("run is running: step 15 of 30, about 0:")


def test_a_driver_that_died_without_a_word_is_not_taken_for_running(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        lock = lock_of(process.pid)
        process.kill()
    status = read_status(run_in(tmp_path / "run", rows=3, lock=lock))
    assert (status.state, status.exit_code) == ("died", 1)
    assert "its driver is gone" in status.sentence


def test_a_driver_elsewhere_lives_as_long_as_its_heart_beats_whatever_its_clock_says(tmp_path, monkeypatch):
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.5)
    monkeypatch.setattr(liveness, "TIMEOUT", 1.5)
    elsewhere = {"host": "another-machine", "beat": time.time() - 3600}
    run = run_in(tmp_path / "run", lock=lock_of(os.getpid(), **elsewhere))
    status = read_status(run)
    assert status.state == "died"
    assert status.seconds_silent > 3000

    later = json.dumps(lock_of(os.getpid(), **{**elsewhere, "beat": time.time() - 3595}))
    threading.Timer(0.7, (tmp_path / "run" / "lock.json").write_text, [later]).start()
    status = read_status(run)
    assert (status.state, status.seconds_silent) == ("running", 0)


@pytest.mark.parametrize("beat", [-3600, 0, 3600], ids=["old", "fresh", "of a clock ahead"])
def test_status_and_lock_say_the_same_of_a_heartbeat(tmp_path, monkeypatch, beat):
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(liveness, "TIMEOUT", 0.3)
    dead = lock_of(os.getpid(), host="another-machine", beat=time.time() + beat)
    run = run_in(tmp_path / "run", lock=dead)
    assert read_status(run).state == "died"
    with locked(RunDirectory(run.location), lambda: None):
        assert read_status(run).state == "running"


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 1), ("stopped", 130)])
def test_an_ended_run_is_what_its_result_says(tmp_path, status, code):
    result = {"status": status, "steps_done": 7, "steps_planned": 9, "resume": "tadrib train spec.yaml"}
    found = read_status(run_in(tmp_path / "run", rows=7, result=result))
    assert (found.state, found.exit_code, found.steps_done, found.steps_planned) == (status, code, 7, 9)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (shutil.rmtree, "final/ is missing"),
        (
            lambda final: os.truncate(final / "model.safetensors", 99),
            "final/model.safetensors has 99 of 100 bytes",
        ),
        (lambda final: (final / "model.safetensors").unlink(), "final/model.safetensors is missing"),
    ],
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_no_run_has_succeeded_whose_weights_are_gone(tmp_path, harm, said, scheme):
    run_in(tmp_path / "run", result={"status": "succeeded", "steps_done": 9, "steps_planned": 9})
    run = RunFiles(f"{scheme}{tmp_path / 'run'}")
    assert read_status(run).state == "succeeded"

    harm(tmp_path / "run" / "final")

    status = read_status(run)
    assert (status.state, status.exit_code) == ("failed", 1)
    assert status.sentence == f"run failed at step 9 of 9: {said}, although the run had succeeded"


@pytest.mark.parametrize(
    "garbage", [b"{", b"\xff\xfe\x00", b"[]", b'{"beat": "x", "step": 1}', b"a: [\n", b""]
)
@pytest.mark.parametrize("name", ["spec.yaml", "lock.json", "metrics.jsonl", "result.json"])
def test_a_damaged_file_of_a_run_does_not_keep_its_status_secret(tmp_path, name, garbage):
    run = run_in(tmp_path / "run", rows=3, lock=lock_of(os.getpid()), max_steps=9)
    (tmp_path / "run" / name).write_bytes(garbage)

    status = read_status(run)

    assert status.state == ("died" if name == "lock.json" else "running")
    assert status.steps_done == (0 if name == "metrics.jsonl" and garbage[:2] != b'{"' else status.steps_done)
    assert status.steps_planned == (None if name == "spec.yaml" else 9)
    assert status.sentence.startswith("run ")


def test_a_damaged_result_is_said_to_be(tmp_path):
    run = run_in(tmp_path / "run", rows=3, max_steps=9)
    (tmp_path / "run" / "result.json").write_text('{"status": "succ')
    assert read_status(run).sentence == "run has ended: step 3 of 9; its result.json is corrupt"


def test_the_steps_of_less_than_an_epoch_are_told(tmp_path):
    run = run_in(tmp_path / "run", rows=2, lock=lock_of(os.getpid()), num_train_epochs=0.5)
    assert read_status(run).steps_planned == 5


def test_where_nothing_was_started_there_is_no_run(tmp_path):
    assert read_status(RunFiles(str(tmp_path))).exit_code == 2


def test_a_name_is_looked_for_under_runs(tmp_path, monkeypatch):
    run_in(tmp_path / "runs" / "demo", result={"status": "succeeded"})
    monkeypatch.chdir(tmp_path)
    assert read_status(find("demo")).state == "succeeded"


def test_the_files_of_a_run_may_be_in_an_object_store(tmp_path):
    run_in(
        tmp_path / "run", rows=2, result={"status": "failed", "error": {"kind": "E", "message": "why\nmore"}}
    )
    run = RunFiles(f"file://{tmp_path}/run")
    assert read_status(run).sentence == "run failed before its first step: why"
    run.ask_to_stop()
    assert (tmp_path / "run" / "stop").exists()
    assert run.names("logs") == []


def test_a_run_that_has_ended_is_not_asked_to_stop(tmp_path):
    run = run_in(tmp_path / "run", result={"status": "succeeded"})
    assert LocalRuns().stop(run.location, seconds=5).state == "succeeded"
    assert not (tmp_path / "run" / "stop").exists()


def test_a_run_that_does_not_stop_in_time_is_said_to_go_on(tmp_path):
    run = run_in(tmp_path / "run", lock=lock_of(os.getpid()))
    with pytest.raises(TrainingError, match=r"is still running after 0\.5 seconds"):
        LocalRuns().stop(run.location, seconds=0.5)
    assert (tmp_path / "run" / "stop").exists()


def test_a_log_that_is_not_there_names_those_that_are(tmp_path):
    run = run_in(tmp_path / "run", result={"status": "succeeded"})
    (tmp_path / "run" / "logs" / "worker-0.log").write_text("hello\n")
    printed: list[str] = []
    LocalRuns(printed.append).logs(run.location, 0, follow=True)
    assert printed == ["hello\n"]
    with pytest.raises(SpecError, match=r"worker-1.log: does not exist. There are worker-0.log"):
        LocalRuns(printed.append).logs(run.location, 1)


def job(status: str, code: int | None = None, message: str | None = None) -> JobDetails:
    details = {"status": status, "driver_exit_code": code, "message": message}
    return JobDetails(type="SUBMISSION", entrypoint="tadrib", submission_id="run-1", **details)


@pytest.mark.parametrize(
    ("details", "state", "expected"),
    [
        (job("RUNNING"), "running", "running"),
        (job("RUNNING"), "missing", "waiting"),
        (job("RUNNING"), "stopped", "waiting"),  # the result of an earlier start
        (job("SUCCEEDED", 0), "succeeded", "succeeded"),
        (job("SUCCEEDED", 0), "missing", "failed"),
        (job("SUCCEEDED", 0), "running", "failed"),
        (job("STOPPED"), "running", "stopped"),
        (job("STOPPED"), "died", "stopped"),
        (job("STOPPED"), "succeeded", "succeeded"),
        (job("FAILED", 130), "stopped", "stopped"),
        (job("FAILED", 1), "failed", "failed"),
        (job("FAILED", 2), "succeeded", "failed"),  # another spec of this name had finished before
        (job("FAILED", -9), "running", "failed"),
    ],
)
def test_neither_job_nor_result_alone_decides(details, state, expected):
    assert combined(details, Status(state, "run", run_directory="/runs/run")).state == expected


def test_why_a_job_failed_is_said_by_its_exit_code_or_by_ray():
    assert "tadrib was not found" in failure_reason(job("FAILED", 127))
    assert "killed (exit code -9)" in failure_reason(job("FAILED", -9))
    assert failure_reason(job("FAILED", None, "Failed to set up the environment\nmore")) == (
        "Failed to set up the environment"
    )


def test_relative_paths_of_a_spec_are_told_from_names_on_a_hub(tmp_path, monkeypatch):
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    local = spec_of(model_name="models/tiny", dataset_path="./rows.jsonl")
    assert relative_keys(local) == ["model_name", "dataset_path", "storage_path"]
    hub = spec_of(model_name="Qwen/Qwen2.5-7B", dataset_path="org/rows", storage_path="s3://bucket/runs")
    assert relative_keys(hub) == []


def test_paths_that_the_cluster_does_not_have_are_refused_all_at_once(tmp_path):
    spec = spec_of(model_name="models/tiny", dataset_path="rows.jsonl")
    keys = ["model_name", "dataset_path", "storage_path"]
    with pytest.raises(SpecError, match=r"3 problems.*\n.*the cluster has no such folder"):
        require_directory(Path("/nowhere"), spec, keys)
    with pytest.raises(SpecError, match=rf"2 problems.*\n.*models/tiny is {tmp_path}/models/tiny"):
        require_directory(tmp_path, spec, keys)


def test_a_run_is_not_kept_in_the_folder_that_ray_removes_with_the_job(tmp_path, monkeypatch):
    folder = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    with pytest.raises(SpecError, match="Ray removes from the node after the job"):
        require_persistent_storage(spec_of())
    require_persistent_storage(spec_of(storage_path="s3://bucket/runs"))


def test_launch_never_starts_a_cluster_of_its_own(tmp_path):
    alone = ["unshare", "--pid", "--fork", "--mount-proc"]  # where no process of another Ray can be seen
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("no right to hide the other processes of this machine")
    (tmp_path / "rows.jsonl").write_text('{"instruction": "a", "response": "b"}\n')
    (tmp_path / "spec.yaml").write_text(
        f"method: sft\nname: run\nmodel_name: {tiny_model()}\ndataset_path: rows.jsonl\n"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [*alone, sys.executable, "-m", "tadrib", "launch", "spec.yaml"],
        cwd=tmp_path,
        env={**environment, "RAY_TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "no Ray is running on this machine" in done.stderr
    assert "`tadrib train`" in done.stderr


@pytest.mark.parametrize("typed", ["runs/my-frist-run", "my-frist-run", "rusn/my-frist-run"])
def test_a_misspelt_run_is_answered_with_the_nearest(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    for name in ("my-first-run", "another"):
        run_in(tmp_path / "runs" / name)
    run, meant = find(typed), r"Did you mean runs/my-first-run\?"
    assert read_status(run).sentence.endswith("my-frist-run; did you mean runs/my-first-run?")
    for command in (
        lambda: LocalRuns().stop(typed, seconds=1),
        lambda: LocalRuns().logs(typed),
        lambda: compare_run(typed, ["x"], 8),
    ):
        with pytest.raises(SpecError, match=meant):
            command()


def test_a_run_that_has_not_finished_cannot_be_compared_and_says_how_to_finish_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = {"status": "stopped", "steps_done": 3, "steps_planned": 9, "resume": "tadrib train spec.yaml"}
    run_in(
        tmp_path / "runs" / "run", result={**result, "wall_seconds": 1.0, "num_workers": 1, "versions": {}}
    )
    said = r"no final/ folder: run was stopped: step 3 of 9. Finish it with `tadrib train spec.yaml`."
    with pytest.raises(SpecError, match=said):
        compare_run("run", ["x"], 8)
