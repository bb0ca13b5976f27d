# SPDX-License-Identifier: Apache-2.0
import re

from training.report import write_report
from training.result import Result
from training.run_directory import RunDirectory


def run_with(tmp_path, *rows: dict) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    run.write_spec("method: sft\n")
    for row in rows:
        run.metrics.append(row)
    return run


def test_the_report_shows_what_was_logged_and_nothing_else(tmp_path):
    run = run_with(
        tmp_path, {"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}, {"step": 2, "eval_loss": 2.5}
    )
    result = Result(
        status="succeeded",
        name="arabic",
        method="sft",
        steps_done=2,
        steps_planned=2,
        tokens=1234,
        evaluation_before={"eval_loss": 4.0},
        evaluation={"eval_loss": 2.5},
    )

    page = write_report(run, result).read_text()

    assert page.count("<svg") == 1
    assert "1,234 tokens" in page
    assert re.search(r"<td>loss</td><td class=\"n\">4</td>\s*<td class=\"n\">2.5</td>", page)
    assert "method: sft" in page


def test_a_failed_run_has_a_report_without_numbers(tmp_path):
    run = run_with(tmp_path, {"step": 1, "loss": "nan"})
    error = {"kind": "TrainingError", "message": "loss is <nan>"}

    page = write_report(run, Result(status="failed", name="a", method="sft", error=error)).read_text()

    assert "<svg" not in page
    assert "TrainingError: loss is &lt;nan&gt;" in page
