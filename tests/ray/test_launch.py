# SPDX-License-Identifier: Apache-2.0
"""Runs on a real Ray cluster of two CPUs, started once for this file."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest
import ray

from tadrib.ray_jobs.compat.ray_interfaces import USED
from tadrib.ray_jobs.driver.launch import launch
from tadrib.ray_jobs.driver.ray_cluster import cluster
from tadrib.training.config import JobSpec
from tadrib.training.errors import DataError, ResourceError, SpecError, StoppedError, TrainingError
from tadrib.training.run.directory import RunDirectory
from tests.faults.runs import workers_of
from tests.tiny import tiny_model, write_rows

pytestmark = pytest.mark.slow
SECRET = "a-secret-of-the-nodes"


@pytest.fixture(scope="module", autouse=True)
def ray_of_two_cpus():
    before = {**os.environ}
    os.environ.update(RAY_AUTH_MODE="disabled", RAY_ADDRESS="local", AWS_SECRET_ACCESS_KEY=SECRET)
    with cluster():
        yield
    os.environ.clear()
    os.environ.update(before)


def spec_in(folder: Path, **changes) -> JobSpec:
    values = {
        "method": "sft",
        "name": "run",
        "model_name": tiny_model(),
        "dataset_path": write_rows(folder / "train.jsonl", "sft_train.jsonl", 64),
        "storage_path": str(folder / "runs"),
        "learning_rate": 1e-3,
        "max_seq_length": 256,
        "gradient_checkpointing": False,
        "use_lora": False,
        "max_steps": 4,
        "logging_steps": 1,
        "resources": {"num_workers": 2},
    }
    return JobSpec(**{**values, **changes})


def test_two_workers_train_to_the_end_and_a_second_start_trains_nothing(tmp_path, capfd):
    held_out = write_rows(tmp_path / "heldout.jsonl", "sft_heldout.jsonl", 16)
    spec = spec_in(tmp_path, eval_dataset_path=held_out)
    capfd.readouterr()

    result = launch(spec)

    run = RunDirectory(spec.run_dir)
    assert run.read_result() == result
    assert (result.status, result.steps_done, result.steps_planned) == ("succeeded", 4, 4)
    assert result.evaluation["eval_perplexity"] < result.evaluation_before["eval_perplexity"]
    assert result.tokens > 0
    assert result.versions["ray"]
    assert [row["step"] for row in run.metrics.read() if "loss" in row] == [1, 2, 3, 4]
    assert (run.final / "model.safetensors").is_file()
    assert (run.path / "report.html").is_file()
    state = json.loads((run.latest_checkpoint() / "trainer_state.json").read_text())
    kept = [row for row in state["log_history"] if row["step"]]
    assert kept[-1]["step"] == 4
    assert [row for row in run.metrics.read() if row["step"]][: len(kept)] == kept
    assert len([w for w in result.warnings if w.startswith("torch_dtype")]) == 1  # driver and workers say so
    screen = capfd.readouterr()
    assert screen.err == ""
    assert "✓ run succeeded" in screen.out
    assert not re.search("ray|Ray|Writing model|Loading weights|pid=", screen.out)
    assert "worker-1.log" in os.listdir(run.logs)
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    assert files_with(SECRET, run.path, session) == [], "what the environment keeps secret is written nowhere"

    weights = (run.final / "model.safetensors").stat().st_mtime_ns
    assert launch(spec) == result
    assert "It has finished" in capfd.readouterr().out
    assert (run.final / "model.safetensors").stat().st_mtime_ns == weights
    with pytest.raises(SpecError, match=r"learning_rate: was 0.001 and is now 0.002"):
        launch(spec_in(tmp_path, eval_dataset_path=held_out, learning_rate=2e-3))


def test_a_ray_without_our_private_interfaces_trains_by_its_public_ones_and_says_so(
    tmp_path, capfd, monkeypatch
):
    """The same metrics, checkpoints and weights, stopped and continued, through Ray Train's own controller."""
    monkeypatch.setitem(USED, "ray.train.v2._internal.execution:Moved", {})
    spec = spec_in(tmp_path, save_steps=2)

    result = launch(spec)

    run = RunDirectory(spec.run_dir)
    assert (result.status, result.steps_done, result.num_workers) == ("succeeded", 4, 2)
    assert [row["step"] for row in run.metrics.read() if "loss" in row] == [1, 2, 3, 4]
    assert run.latest_checkpoint().name == "checkpoint-4"
    assert (run.final / "model.safetensors").is_file()
    [warning] = [w for w in result.warnings if w.startswith("ray: ")]
    assert "has no ray.train.v2._internal.execution.Moved" in warning
    assert "public trainer" in " ".join(capfd.readouterr().out.split())


def test_by_public_interfaces_a_worker_that_dies_is_replaced_and_the_run_goes_on(
    tmp_path, capfd, monkeypatch
):
    monkeypatch.setitem(USED, "ray.train.v2._internal.execution:Moved", {})
    spec = spec_in(tmp_path, max_steps=40, save_steps=5)
    run = RunDirectory(spec.run_dir)

    def kill_one() -> None:
        while run.latest_checkpoint() is None:
            time.sleep(0.05)
        os.kill(workers_of(os.getpid())[0], signal.SIGKILL)

    threading.Thread(target=kill_one, daemon=True).start()
    result = launch(spec)

    assert (result.status, result.steps_done) == ("succeeded", 40)
    assert [row["step"] for row in run.metrics.read() if "loss" in row] == list(range(1, 41))
    assert "workers restart" in " ".join(capfd.readouterr().out.split())


def files_with(text: str, *folders: Path) -> list[Path]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    return [path for path in files if text.encode() in path.read_bytes()]


def test_a_collapse_is_no_quiet_success(tmp_path, capfd):
    """A log file alone would hide it: screen, metrics, result and report all have it."""
    spec = spec_in(
        tmp_path,
        method="dpo",
        dataset_path=write_rows(tmp_path / "pairs.jsonl", "dpo_train.jsonl", 32),
        max_length=256,
        max_seq_length=256,
        learning_rate=0.1,
        max_steps=6,
        resources={"num_workers": 1},
    )

    result = launch(spec)

    run = RunDirectory(spec.run_dir)
    drifts = [row["logps/chosen_drift"] for row in run.metrics.read() if "logps/chosen_drift" in row]
    assert len(drifts) == 6
    assert min(drifts) < -1
    [warning] = [w for w in result.warnings if "unlearning" in w]
    assert "Lower learning_rate or raise beta or raise sft_weight." in warning
    assert warning in " ".join(capfd.readouterr().out.split())
    assert run.read_result().warnings == result.warnings
    assert "unlearning" in (run.path / "report.html").read_text()


def test_more_workers_than_ray_has_are_refused_with_a_number_that_fits(tmp_path):
    with pytest.raises(ResourceError, match=r"5 workers of 1 CPU each.*has 2 CPUs.*resources.num_workers=2"):
        launch(spec_in(tmp_path, resources={"num_workers": 5}))
    assert RunDirectory(tmp_path / "runs" / "run").read_result().status == "failed"


def test_workers_too_large_for_any_node_are_told_the_largest_size(tmp_path):
    with pytest.raises(
        ResourceError, match=r"enough for 0. The largest node allows resources.cpus_per_worker=2"
    ):
        launch(spec_in(tmp_path, resources={"num_workers": 1, "cpus_per_worker": 3}))


def test_bad_rows_are_refused_before_any_worker_starts(tmp_path):
    spec = spec_in(tmp_path)
    Path(spec.config.dataset_path).write_text('{"instruction": "a", "response": ""}\n')
    with pytest.raises(DataError, match="response"):
        launch(spec)
    assert os.listdir(tmp_path / "runs" / "run" / "logs") == ["driver.log"]
    assert not (tmp_path / "runs" / "run" / "data").exists()


def test_a_failing_worker_is_told_in_three_lines(tmp_path, capfd):
    """The model's own code fails, in both workers."""
    model = Path(shutil.copytree(tiny_model(), tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    own_class = config["architectures"][0]
    (model / "own.py").write_text(
        f"from transformers import {own_class}\n\n\nclass Own({own_class}):\n"
        "    def forward(self, input_ids=None, **kwargs):\n        return 1 / 0\n"
    )
    config["auto_map"] = {"AutoModelForCausalLM": "own.Own"}
    (model / "config.json").write_text(json.dumps(config))
    spec = spec_in(tmp_path, model_name=str(model), trust_remote_code=True)

    with pytest.raises(TrainingError) as failed:
        launch(spec)

    first, second, third = str(failed.value).splitlines()
    assert re.match(r"ZeroDivisionError on worker \d: division by zero", first)
    assert re.fullmatch(r"  at .*/own.py:6 in forward", second)
    log = Path(third.removeprefix("  full log: "))
    assert "Traceback" in log.read_text()
    assert RunDirectory(spec.run_dir).read_result().error.kind == "ZeroDivisionError"
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_is_named_with_the_bytes_free(tmp_path, small_disk):
    spec = spec_in(tmp_path, storage_path=str(small_disk), max_steps=8, save_steps=1, save_total_limit=None)

    with pytest.raises(
        ResourceError, match=rf"no space left.*\n.*{small_disk}/run: .* bytes\) are free there"
    ):
        launch(spec)

    run = RunDirectory(spec.run_dir)
    assert not run.final.exists()
    for folder in run.checkpoints.glob("checkpoint-*"):
        json.loads((folder / "trainer_state.json").read_text())
        assert (folder / "optimizer.pt").is_file()


def test_a_disk_too_small_is_refused_before_anything_is_written(tmp_path, small_disk):
    (small_disk / "filler").write_bytes(bytes(40 * 1024**2))
    with pytest.raises(ResourceError, match=r"writes at least .* MiB, but only .* are free there"):
        launch(spec_in(tmp_path, storage_path=str(small_disk)))
    assert os.listdir(small_disk) == ["filler"]


@pytest.mark.parametrize("by", ["private interfaces", "public interfaces"])
def test_asked_twice_to_stop_no_worker_goes_on_in_a_ray_that_was_there_before(by, tmp_path, monkeypatch):
    if by == "public interfaces":
        monkeypatch.setitem(USED, "ray.train.v2._internal.execution:Moved", {})
    spec = spec_in(tmp_path, max_steps=100_000)
    run = RunDirectory(spec.run_dir)

    def interrupt() -> None:
        while not any("loss" in row for row in run.metrics.read()):
            time.sleep(0.05)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(StoppedError, match="aborted at step"):
        launch(spec)

    assert run.read_result().status == "stopped"
    # Ray's own controller notices within seconds, by itself
    deadline = time.monotonic() + (60 if by == "public interfaces" else 0)
    while time.monotonic() < deadline and any("RayTrainWorker" in title for title in _titles()):
        time.sleep(0.2)
    assert not any("RayTrainWorker" in title for title in _titles())


def _titles() -> list[str]:
    titles = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one too
            titles.append(" ".join(process.cmdline()))
    return titles
