# SPDX-License-Identifier: Apache-2.0
"""Prepared rows of a run that goes on: whole, made again, or refused; never others without a word."""

import io
import os
import shutil
from pathlib import Path

import pytest

from tadrib.ray_jobs.driver.display import Display
from tadrib.ray_jobs.driver.preparation import prepare
from tadrib.training.config import JobSpec
from tadrib.training.data.prepare import PreparedData
from tadrib.training.errors import DataError, ResourceError
from tadrib.training.run.directory import RunDirectory
from tests.tiny import tiny_model, write_rows


def spec_in(folder: Path, scheme: str = "") -> JobSpec:
    return JobSpec(
        method="sft",
        name="run",
        model_name=tiny_model(),
        dataset_path=write_rows(folder / "rows.jsonl", "sft_train.jsonl", 40),
        storage_path=f"{scheme}{folder}/runs",
    )


def start(spec: JobSpec, machine: Path, monkeypatch) -> tuple[list, str]:
    """What one start's driver on a machine prepares for a run with a checkpoint, and what it says."""
    monkeypatch.setenv("TADRIB_SCRATCH", str(machine))
    run, screen = RunDirectory(spec.run_dir), io.StringIO()
    run.create()
    display = Display(screen)
    prepare(spec, run, display)
    run.files.write("checkpoints/checkpoint-10/manifest.json", "{}")
    if run.store is not None:
        from tadrib.training.files.store_folders import download_folder

        assert download_folder(run.store, "data", run.data) is None
    return list(PreparedData.load(run.data).train), screen.getvalue()


def flip_a_byte(table: Path) -> None:
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)


def block_of(runs: Path) -> Path:
    """The file of the only block of prepared rows."""
    [block] = [file for file in (runs / "prepared").glob("*.arrow") if not file.stem.endswith(".index")]
    return block


HARM = {
    "a byte flipped": (lambda runs: flip_a_byte(block_of(runs)), "has been altered: its SHA-256 differs"),
    "truncated": (lambda runs: os.truncate(block_of(runs), 1000), "has 1,000 of |cut short"),
    "deleted": (lambda runs: block_of(runs).unlink(), "is missing"),
    "all deleted": (lambda runs: shutil.rmtree(runs / "prepared"), "is missing"),
    "the run's own": (lambda runs: shutil.rmtree(runs / "run/data"), "data/manifest.json is missing"),
}


@pytest.mark.parametrize("scheme", ["", "file://"], ids=["disk", "store"])
@pytest.mark.parametrize("harm", HARM)
def test_damaged_rows_are_prepared_again_and_that_is_said(tmp_path, monkeypatch, caplog, harm, scheme):
    do, said = HARM[harm]
    spec = spec_in(tmp_path, scheme)
    (tmp_path / "runs/run/checkpoints/checkpoint-10").mkdir(parents=True)
    rows, _ = start(spec, tmp_path / "one", monkeypatch)
    caplog.clear()
    assert start(spec, tmp_path / "two", monkeypatch)[0] == rows
    assert caplog.messages == []
    do(tmp_path / "runs")
    if scheme and harm == "a byte flipped":  # names and sizes are right: who fetches the block finds it out
        with pytest.raises(ResourceError, match=r"\.arrow: is damaged: its SHA-256 differs"):
            start(spec, tmp_path / "three", monkeypatch)
        shutil.rmtree(tmp_path / "runs/run/data")
        said = "data/manifest.json is missing"

    again, _ = start(spec, tmp_path / "four", monkeypatch)

    assert again == rows
    assert len(caplog.messages) == 1
    assert any(words in caplog.messages[0] for words in said.split("|"))
    assert "prepared again" in caplog.messages[0]
    assert start(spec, tmp_path / "five", monkeypatch)[0] == rows
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("scheme", ["", "file://"], ids=["disk", "store"])
def test_a_dataset_that_changed_is_told_and_never_mixed_with_what_it_was(
    tmp_path, monkeypatch, caplog, scheme
):
    spec = spec_in(tmp_path, scheme)
    (tmp_path / "runs/run/checkpoints/checkpoint-10").mkdir(parents=True)
    rows, _ = start(spec, tmp_path / "one", monkeypatch)
    write_rows(tmp_path / "rows.jsonl", "sft_train.jsonl", 39)
    caplog.clear()

    assert start(spec, tmp_path / "two", monkeypatch)[0] == rows
    [said] = caplog.messages
    assert f"dataset_path: {tmp_path}/rows.jsonl has changed since the run began" in said
    assert "--fresh" in said

    block_of(tmp_path / "runs").unlink()
    with pytest.raises(DataError, match=r"are corrupt.*\n.*dataset_path: .* restore the old content"):
        start(spec, tmp_path / "three", monkeypatch)
