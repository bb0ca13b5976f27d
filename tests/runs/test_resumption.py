# SPDX-License-Identifier: Apache-2.0
import os
import shutil

import pytest

from tadrib.ray_jobs.runs.resumption import begin, finished, set_aside
from tadrib.ray_jobs.trackers import point_trackers_at
from tadrib.training.config import JobSpec
from tadrib.training.errors import ResourceError, SpecError
from tadrib.training.files.manifest import Manifest, describe
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.result import Result


def spec_in(folder, **changes) -> JobSpec:
    values = {"method": "sft", "name": "run", "dataset_path": "rows.jsonl", "storage_path": str(folder)}
    return JobSpec(**{**values, **changes})


def run_with_a_checkpoint(folder, spec: JobSpec) -> RunDirectory:
    run = RunDirectory(spec.run_dir)
    run.create()
    begin(spec, run)
    (run.checkpoints / "checkpoint-10").mkdir()
    (run.checkpoints / "checkpoint-10" / "manifest.json").write_text("{}")
    run.metrics.append({"step": 10, "loss": 1.0})
    run.data.mkdir()
    return run


def test_a_run_that_failed_before_its_first_checkpoint_begins_afresh_with_any_spec(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create()
    begin(spec_in(tmp_path), run)
    run.metrics.append({"step": 1, "loss": 1.0})
    run.data.mkdir()
    run.write_result(Result(status="failed", name="run", method="sft"))

    changed = spec_in(tmp_path, learning_rate=1e-5)
    assert finished(changed, run) is None
    begin(changed, run)

    assert run.metrics.read() == []
    assert run.read_result() is None
    assert not run.data.exists()
    assert "learning_rate: 1.0e-05" in run.spec_file.read_text()


def test_a_run_that_continues_keeps_its_rows_and_metrics(tmp_path):
    spec = spec_in(tmp_path)
    run = run_with_a_checkpoint(tmp_path, spec)
    identity = run.files.read("id")

    assert finished(spec, run) is None
    begin(spec, run)

    assert run.data.is_dir()
    assert len(run.metrics.read()) == 1
    assert run.files.read("id") == identity


def finished_run(folder, spec: JobSpec, checkpoint: bool) -> RunDirectory:
    run = RunDirectory(spec.run_dir)
    run.create()
    begin(spec, run)
    if checkpoint:
        (run.checkpoints / "checkpoint-10").mkdir()
        (run.checkpoints / "checkpoint-10" / "manifest.json").write_text("{}")
    run.final.mkdir()
    (run.final / "model.safetensors").write_bytes(b"weights")
    (run.final / "manifest.json").write_text(Manifest(files=describe(run.final)).to_json())
    run.write_result(Result(status="succeeded", name="run", method="sft", steps_done=10))
    return run


def flip_a_byte(run: RunDirectory) -> None:
    (run.final / "model.safetensors").write_bytes(b"weighty")


HARM = {
    "deleted": (lambda run: shutil.rmtree(run.final), "final/ is missing"),
    "a file deleted": (
        lambda run: (run.final / "model.safetensors").unlink(),
        "final/model.safetensors is missing",
    ),
    "a byte flipped": (
        flip_a_byte,
        "final/model.safetensors has been altered: its SHA-256 differs from the manifest",
    ),
    "its manifest torn": (
        lambda run: (run.final / "manifest.json").write_text("{"),
        "final/manifest.json is invalid",
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_finished_run_without_whole_weights_goes_on_from_its_checkpoint_and_says_so(tmp_path, caplog, harm):
    spec = spec_in(tmp_path)
    run = finished_run(tmp_path, spec, checkpoint=True)
    assert finished(spec, run).status == "succeeded"
    do, said = HARM[harm]
    do(run)

    assert finished(spec, run) is None
    begin(spec, run)

    assert [record.getMessage() for record in caplog.records] == [
        f"{said}, although the run succeeded; it continues from checkpoint-10 to restore its weights"
    ]


def test_a_finished_run_without_weights_nor_checkpoint_is_not_trained_anew_unasked(tmp_path):
    spec = spec_in(tmp_path)
    run = finished_run(tmp_path, spec, checkpoint=False)
    shutil.rmtree(run.final)
    with pytest.raises(ResourceError, match=r"run: final/ is missing, and there is no checkpoint.*--fresh"):
        finished(spec, run)
    assert run.read_result().status == "succeeded"


def test_weights_of_an_earlier_version_are_whole_without_a_manifest(tmp_path):
    spec = spec_in(tmp_path)
    run = finished_run(tmp_path, spec, checkpoint=False)
    (run.final / "manifest.json").unlink()
    assert finished(spec, run).status == "succeeded"


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_damaged_result_deletes_no_weights(tmp_path, scheme, monkeypatch, caplog):
    monkeypatch.setenv("TADRIB_SCRATCH", str(tmp_path / "scratch"))
    spec = spec_in(tmp_path)
    finished_run(tmp_path, spec, checkpoint=False)
    (tmp_path / "run" / "result.json").write_text('{"status": "succ')

    again = spec_in(tmp_path, storage_path=f"{scheme}{tmp_path}")
    run = RunDirectory(again.run_dir)
    run.create()
    run.pull()
    assert finished(again, run) is None
    begin(again, run)

    assert (tmp_path / "run" / "final.before-1" / "model.safetensors").read_bytes() == b"weights"
    assert not run.has_final()
    damaged, kept = (record.getMessage() for record in caplog.records)
    assert (
        damaged == "result.json is corrupt, so it is unknown how the run ended; it starts from the beginning"
    )
    assert kept.endswith(f"it is kept as {scheme}{tmp_path}/run/final.before-1")


TORN = [b"method: sft\nname: run\nda", b"method: sft\nname: [", b"\xff\x00\xfe", b"", b"- a\n- b\n"]


@pytest.mark.parametrize("content", TORN)
def test_a_damaged_spec_of_a_run_is_named_with_the_ways_out(tmp_path, content, caplog):
    spec = spec_in(tmp_path)
    run = run_with_a_checkpoint(tmp_path, spec)
    run.spec_file.write_bytes(content)

    with pytest.raises(SpecError) as refused:
        finished(spec, run)
    [problem] = refused.value.problems
    assert problem.where == str(run.spec_file)
    assert "is corrupt" in problem.message
    assert "--fresh" in problem.action

    run.spec_file.unlink()
    assert finished(spec, run) is None
    begin(spec, run)
    assert "the run's spec.yaml is missing; the run is assumed" in caplog.text
    assert finished(spec, run) is None


def test_a_run_that_begins_anew_beside_a_renamed_checkpoint_says_how_to_continue(tmp_path, caplog):
    spec = spec_in(tmp_path)
    run = run_with_a_checkpoint(tmp_path, spec)
    made = run.checkpoints / "checkpoint-10"
    (made / "weights").write_bytes(b"w")
    (made / "manifest.json").write_text(Manifest(step=10, files=describe(made)).to_json())
    made.rename(run.checkpoints / "checkpoint-10.bak")

    begin(spec, run)

    assert f"{run.checkpoints}/checkpoint-10.bak is a checkpoint of step 10 by its manifest" in caplog.text
    assert "rename it to checkpoint-10 and start again" in caplog.text


def test_trackers_take_a_run_that_continues_for_the_same_and_one_that_begins_for_another(
    tmp_path, monkeypatch
):
    for variable in ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_NAME", "WANDB_DIR", "TENSORBOARD_LOGGING_DIR"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    spec, found = spec_in(tmp_path), []
    run = run_with_a_checkpoint(tmp_path, spec)
    for is_fresh in (False, False, True):
        if is_fresh:
            set_aside(run)
            run.create()
        begin(spec, run)
        monkeypatch.delenv("WANDB_RUN_ID", raising=False)
        point_trackers_at(run, "run")
        found.append(os.environ["WANDB_RUN_ID"])
    assert found[0] == found[1] != found[2]
    assert os.environ["WANDB_RESUME"] == "allow"
    monkeypatch.setenv("WANDB_RUN_ID", "the user's")
    point_trackers_at(run, "run")
    assert os.environ["WANDB_RUN_ID"] == "the user's"


def test_a_run_of_a_different_spec_is_not_continued_and_every_difference_is_named(tmp_path):
    run = run_with_a_checkpoint(tmp_path, spec_in(tmp_path))
    with pytest.raises(SpecError) as refused:
        finished(spec_in(tmp_path, lora_r=4, seed=7), run)
    assert [problem.where for problem in refused.value.problems] == ["lora_r", "seed"]
    assert "was 16 and is now 4" in str(refused.value)


def test_what_does_not_change_the_training_may_change_between_starts(tmp_path):
    run = run_with_a_checkpoint(tmp_path, spec_in(tmp_path))
    changed = spec_in(tmp_path, resources={"num_workers": 4}, logging_steps=1, save_steps=5, max_failures=2)
    assert finished(changed, run) is None


def test_an_upgrade_that_brings_a_key_continues_the_run_unless_the_key_is_set(tmp_path):
    run = run_with_a_checkpoint(tmp_path, spec_in(tmp_path))
    lines = run.spec_file.read_text().splitlines(keepends=True)
    assert "packing: true\n" in lines
    run.spec_file.write_text("".join(line for line in lines if line != "packing: true\n"))
    assert finished(spec_in(tmp_path), run) is None
    assert finished(spec_in(tmp_path, packing=True), run) is None
    with pytest.raises(SpecError, match="packing: was None and is now False"):
        finished(spec_in(tmp_path, packing=False), run)


def test_a_fresh_start_keeps_the_old_run_beside_it(tmp_path):
    run = run_with_a_checkpoint(tmp_path, spec_in(tmp_path))
    run.lock_file.write_text("{}")

    aside = set_aside(run)

    assert aside == str(tmp_path / "run.before-1")
    assert RunDirectory(aside).latest_checkpoint().name == "checkpoint-10"
    assert run.latest_checkpoint() is None
    assert run.lock_file.exists()
    assert set_aside(run) == str(tmp_path / "run.before-2")


@pytest.mark.parametrize(
    "changes", [{"strategy": "zero2"}, {"deepspeed": '{"zero_optimization": {"stage": 1}}'}]
)
def test_optimizer_shards_are_not_dealt_to_another_number_of_workers(tmp_path, changes):
    spec = spec_in(tmp_path, resources={"num_workers": 2}, **changes)
    run = run_with_a_checkpoint(tmp_path, spec)
    (run.checkpoints / "checkpoint-10" / "manifest.json").write_text('{"num_workers": 2, "files": {}}')

    assert finished(spec, run) is None
    with pytest.raises(SpecError, match=r"Set resources\.num_workers: 2 to continue"):
        finished(spec_in(tmp_path, resources={"num_workers": 3}, **changes), run)
    assert finished(spec_in(tmp_path, resources={"num_workers": 2}, **changes), run) is None


def test_a_deepspeed_file_that_changed_is_a_difference_of_the_settings_in_it(tmp_path):
    file = tmp_path / "own.json"
    file.write_text('{"zero_optimization": {"stage": 1, "overlap_comm": false}}')
    spec = spec_in(tmp_path, deepspeed=str(file))
    run = run_with_a_checkpoint(tmp_path, spec)
    assert finished(spec, run) is None

    file.write_text('{"zero_optimization": {"overlap_comm": true, "stage": 1}}')
    with pytest.raises(SpecError, match=r"zero_optimization\.overlap_comm: was False and is now True"):
        finished(spec, run)
