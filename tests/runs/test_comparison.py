# SPDX-License-Identifier: Apache-2.0
"""compare takes a run by its name, its directory or its URL, as status does."""

from __future__ import annotations

import shutil

import pytest

from tadrib.ray_jobs.cli.comparison import compare_run
from tadrib.training.errors import SpecError
from tadrib.training.files.manifest import seal
from tests.runs.builders import run_in
from tests.tiny import tiny_model


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A run that ended with the weights it started from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TADRIB_SCRATCH", str(tmp_path / "scratch"))
    (tmp_path / "runs").mkdir()
    run = tmp_path / "runs" / "run"
    run_in(run, result={"status": "succeeded"}, model_name=str(tiny_model()), use_lora=False)
    shutil.rmtree(run / "final")
    shutil.copytree(tiny_model(), run / "final")
    (run / "final" / "manifest.json").unlink(missing_ok=True)
    seal(run / "final")
    return run


def test_a_run_is_compared_by_its_name_its_directory_and_its_url(finished):
    rows = [compare_run(run, ["ما"], 4) for run in ("run", str(finished), f"file://{finished}")]
    assert rows[0] == rows[1] == rows[2]
    (row,) = rows[0]
    assert row["trained_model_response"] == row["reference_model_response"]


def test_weights_that_do_not_arrive_whole_are_not_compared(finished):
    (finished / "final" / "model.safetensors").unlink()
    with pytest.raises(SpecError, match=r"model.safetensors is missing. Start the run again"):
        compare_run(f"file://{finished}", ["x"], 4)
