# SPDX-License-Identifier: Apache-2.0
import json
import math
import os
import threading

import pytest

from tadrib.training.errors import ResourceError
from tadrib.training.files.atomic_file import write_atomically
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.result import Result


def run_in(folder) -> RunDirectory:
    run = RunDirectory(folder / "run")
    run.create()
    return run


def test_a_result_comes_back_as_it_was_written(tmp_path):
    run = run_in(tmp_path)
    result = Result(status="succeeded", name="a", method="sft", steps_done=3, steps_planned=3, tokens=12)

    run.write_result(result)

    assert run.read_result() == result
    assert json.loads(run.result_file.read_text())["status"] == "succeeded"


def test_a_run_that_has_not_ended_has_no_result(tmp_path):
    assert RunDirectory(tmp_path / "run").read_result() is None


def test_a_damaged_result_is_no_result(tmp_path):
    run = run_in(tmp_path)
    run.write_result(Result(status="succeeded", name="a", method="sft"))
    os.truncate(run.result_file, 30)

    assert run.read_result() is None


def test_infinite_and_undefined_metrics_survive_as_valid_json(tmp_path):
    run = run_in(tmp_path)

    run.metrics.append({"step": 1, "loss": math.nan, "perplexity": math.inf})
    run.write_result(Result(status="failed", name="a", method="sft", metrics={"perplexity": math.inf}))

    def refuse(constant):
        raise AssertionError(constant)

    row = json.loads(run.metrics.path.read_text(), parse_constant=refuse)
    assert math.isnan(float(row["loss"]))
    json.loads(run.result_file.read_text(), parse_constant=refuse)
    assert run.read_result().metrics["perplexity"] == math.inf


def test_rows_that_a_lost_machine_took_with_it_come_back_from_the_checkpoint(tmp_path):
    run = run_in(tmp_path)
    for step in (1, 2, 6):
        run.metrics.append({"step": step, "loss": float(step), "time": 100.0 + step})

    run.metrics.rewind(4, [{"step": step, "loss": float(step)} for step in (1, 2, 3, 4, 5)])

    rows = run.metrics.read()
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert [row.get("time") for row in rows] == [101.0, 102.0, None, None]


def test_readers_never_see_half_a_file(tmp_path):
    path, texts = tmp_path / "result.json", ["a" * 300_000, "b" * 300_000]
    write_atomically(path, texts[0])
    done = threading.Event()

    def write():
        for i in range(40):
            write_atomically(path, texts[i % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert path.read_text() in texts
    writer.join()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    write_atomically(path, "old")

    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_the_latest_checkpoint_is_that_of_the_highest_step(tmp_path):
    run = run_in(tmp_path)
    assert run.latest_checkpoint() is None

    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-11.tmp", "tmp-checkpoint-12"):
        (run.checkpoints / name).mkdir()
        (run.checkpoints / name / "manifest.json").write_text("{}")
    (run.checkpoints / "checkpoint-13").mkdir()  # not committed

    assert run.latest_checkpoint() == run.checkpoints / "checkpoint-10"


def test_rewound_metrics_end_at_the_step(tmp_path):
    run = run_in(tmp_path)
    for step in range(4):
        run.metrics.append({"step": step})
    with run.metrics.path.open("a") as file:
        file.write('{"step": 4, "lo')

    run.metrics.rewind(2)

    assert [row["step"] for row in run.metrics.read()] == [0, 1, 2]


GARBAGE = [b'{"step": 4, "lo', b"\xff\xfe\x00\n", b'"a text"\n{"step": "3"}\n[1]\n', b'{"loss": 1}\n']


@pytest.mark.parametrize("garbage", GARBAGE)
def test_damaged_metrics_cost_no_other_row(tmp_path, garbage):
    run = run_in(tmp_path)
    run.metrics.append({"step": 3})
    with run.metrics.path.open("ab") as file:
        file.write(garbage)

    run.metrics.append({"step": 5})

    assert [row["step"] for row in run.metrics.read()] == [3, 5]
    run.metrics.rewind(3)
    assert run.metrics.path.read_text() == '{"step": 3}\n'


def test_a_directory_that_cannot_be_made_names_its_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"file/run: cannot be made: Not a directory"):
        RunDirectory(tmp_path / "file" / "run").create()
