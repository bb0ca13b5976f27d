# SPDX-License-Identifier: Apache-2.0
"""status, list, logs and stop for runs on this machine, as a person and as a program read them."""

from __future__ import annotations

import json
import os
import time

import pytest

from tadrib.ray_jobs.runs.status import EXIT_CODES, Status, read_output
from tests.runs.builders import lock_of, run_in

ERROR = {
    "kind": "DataError",
    "message": "the data are refused: 2 problems\n  rows.jsonl:1: empty.\n  rows.jsonl:2: x.",
}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """One that runs, one that failed, and one that succeeded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    (tmp_path / "runs").mkdir()
    run_in(tmp_path / "runs" / "goes-on", rows=15, lock=lock_of(os.getpid()), num_train_epochs=3)
    failed = {"name": "failed", "status": "failed", "error": ERROR, "started": 1e9}
    run_in(tmp_path / "runs" / "failed", result=failed, model_name="./tiny")
    run_in(
        tmp_path / "runs" / "done", rows=9, result={"name": "done", "status": "succeeded", "steps_done": 9}
    )
    return tmp_path / "runs"


def test_the_status_of_a_run_is_json_with_its_sentence_and_exit_code(runs, tadrib):
    done = tadrib("status", "goes-on", "--json")
    told = json.loads(done.out)
    assert (done.code, told["exit_code"], told["state"]) == (0, 0, "running")
    assert (told["steps_done"], told["steps_planned"], told["method"]) == (15, 30, "sft")
    assert told["sentence"].startswith("goes-on is running: step 15 of 30, about 0:")
    assert json.loads(tadrib("status", "nothing", "--json").out)["state"] == "missing"


@pytest.mark.parametrize("command", [["list"], ["status"], ["list", "done", "failed", "goes-on"]])
def test_every_way_to_list_runs_is_one_line_of_json(runs, tadrib, command):
    done = tadrib(*command, "--json")
    assert (done.code, done.out.count("\n")) == (0, 1)
    told = {each["name"]: each for each in json.loads(done.out)}
    assert {name: each["state"] for name, each in told.items()} == {
        "done": "succeeded",
        "failed": "failed",
        "goes-on": "running",
    }
    assert told["done"]["loss"] == pytest.approx(1 / 9)
    failed = told["failed"]
    assert (failed["method"], failed["start"], failed["started"]) == ("sft", "./tiny", 1e9)


def test_a_list_says_what_each_run_is_when_it_began_and_what_was_logged_last(runs, tadrib):
    done, failed, goes_on = tadrib("list").out.splitlines()
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(1e9))
    said = "the data are refused: rows.jsonl:1: empty."
    assert failed == f"✗ failed failed before its first step: {said} [sft of ./tiny, started {began}]"
    assert done.startswith("✓ done succeeded: step 9 [sft of ")
    assert done.endswith(", loss 0.111]")
    assert goes_on.startswith("… goes-on is running: step 15 of 30, about ")


def test_on_a_terminal_a_list_is_a_table(runs, tadrib, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    heading, *rows = tadrib("list").out.splitlines()
    for word in ("run", "state", "method", "model", "started", "steps", "last metric"):
        assert word in heading
    assert "rows.jsonl:1: empty." in next(row for row in rows if "failed" in row)
    assert "15/30" in next(row for row in rows if "goes-on" in row)


def test_where_there_are_no_runs_a_list_says_so(tmp_path, monkeypatch, tadrib):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert tadrib("list").out == "there are no runs under ./runs\n"
    assert tadrib("list", "--json").out == "[]\n"


def test_logs_that_are_followed_end_as_the_run_ended(runs, tadrib):
    for name, text in (("failed", "working\n"), ("done", "worked\n")):
        (runs / name / "logs" / "driver.log").write_text(text)
    done, failed = tadrib("logs", "done", "--follow"), tadrib("logs", "failed", "--follow")
    assert (done.code, done.out) == (0, "worked\n")
    assert (failed.code, failed.out) == (1, "working\n")
    assert failed.err.startswith("✗ failed failed before its first step")
    assert tadrib("logs", "failed").code == 0


def test_submit_needs_a_place(runs, tadrib):
    done = tadrib("submit", "spec.yaml")
    assert done.code == 2
    assert "RAY_API_SERVER_ADDRESS" in done.err


@pytest.mark.parametrize("state", EXIT_CODES)
def test_a_status_is_read_back_from_among_other_output(state):
    status = Status(
        state, "run", facts=(("workers", "4 of 4"),), loss=float("inf"), steps_done=3, warnings=("a",)
    )
    line = json.dumps(status.to_mapping() | {"of_a_later_version": 1}, allow_nan=False)
    assert read_output(f"a warning\n{line}\n[0:12] a log\n{{torn\n") == [status]
    assert read_output(f"[{line}, {line}]\n") == [status, status]
    assert read_output("nothing\n") == []
