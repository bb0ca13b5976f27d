# SPDX-License-Identifier: Apache-2.0
"""The files of a run that a crash, a full disk or a stranger left as no run writes them."""

from __future__ import annotations

import json
import os

import pytest

from tadrib.ray_jobs.runs.reading import read_status
from tadrib.training.errors import ResourceError
from tadrib.training.notices import forwarded
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.files import RunFiles

SPEC = "method: sft\nname: run\nmax_steps: 20\n"


@pytest.fixture
def run(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


@pytest.mark.parametrize("name", ["spec.yaml", "lock.json", "metrics.jsonl", "result.json"])
@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a device"])
def test_what_stands_in_place_of_a_file_is_named_and_never_waited_for(run, name, kind):
    path = run / name
    path.unlink(missing_ok=True)
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ResourceError) as refusal:
        read_status(RunFiles(str(run)))
    assert f"{path}: cannot be read: it is {kind}, not a file." in str(refusal.value)


def test_damaged_metrics_rows_are_left_out_and_said_when_the_file_is_written_anew(run):
    whole = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": "nan"}, {"step": 9, "loss": 1.0}]
    damaged = [
        b'{"step": "3", "loss": 1.0}',
        b'{"loss": 1.0}',
        b'{"step": -1}',
        b'{"step": 3, "loss": [[1]]}',
        b'{"step": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"step": 4, "lo',
    ]
    file = RunDirectory(run).metrics
    lines = [json.dumps(row).encode() for row in whole]
    file.path.write_bytes(b"\n".join([*lines[:2], *damaged, lines[2], b""]))
    warnings = []
    with forwarded(warnings.append):
        file.rewind(8, [{"step": 5, "loss": 0.5}, {"loss": 7.0}, {"step": "6"}])
    assert file.read() == [*whole[:2], {"step": 5, "loss": 0.5}]
    assert len(warnings) == 1
    assert "7 corrupt lines are left out" in warnings[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [("pid", -1), ("pid", 2**40), ("beat", 1e300), ("started", -1.0), ("beat", float("nan")), ("host", 3)],
)
def test_a_lock_with_a_value_that_none_has_is_torn(run, field, value):
    lock = {"owner": "a", "host": "b", "pid": 7, "process": 1.0, "started": 1e9, "beat": 1e9}
    (run / "lock.json").write_text(json.dumps(lock))
    assert RunFiles(str(run)).holder().pid == 7
    (run / "lock.json").write_text(json.dumps(lock | {field: value}))
    assert RunFiles(str(run)).holder() is None


@pytest.mark.parametrize("value", ["1e999", "1" + "0" * 400, '"soon"', "null", "true"])
@pytest.mark.parametrize("key", ["epoch", "loss", "time", "tokens_per_second"])
def test_a_number_that_no_run_logs_leaves_the_status_without_it(run, key, value):
    rows = [
        f'{{"step": {step}, "loss": 1.0, "time": 1e9, "epoch": 0.1, "{key}": {value}}}' for step in (3, 4)
    ]
    (run / "metrics.jsonl").write_text("\n".join(rows))
    (run / "spec.yaml").write_text("method: sft\nname: run\nnum_train_epochs: 3\n")
    status = read_status(RunFiles(str(run)))
    assert (status.state, status.steps_done) == ("died", 4)


@pytest.mark.parametrize(
    "change", [{"steps_done": -1}, {"steps_done": 10**400}, {"wall_seconds": float("inf")}]
)
def test_a_result_with_a_number_that_no_run_has_is_damaged(run, change):
    result = {"status": "stopped", "name": "run", "method": "sft", "steps_done": 4}
    (run / "result.json").write_text(json.dumps(result))
    assert RunDirectory(run).read_result().steps_done == 4
    (run / "result.json").write_text(json.dumps(result | change))
    assert RunDirectory(run).read_result() is None
