# SPDX-License-Identifier: Apache-2.0
import json
import math
import re
from xml.dom import minidom

import pytest

from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.report import write_report
from tadrib.training.run.result import Result
from tadrib.training.run.source_rows import SourceRows


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


def test_each_of_several_datasets_has_a_line_with_its_share_and_its_metrics(tmp_path):
    run = run_with(tmp_path, {"step": 1, "loss": 3.0, "eval_large_loss": 2.0, "eval_loss": 2.5})
    sources = [
        {"name": "large", "rows": 5000, "train_rows": 4500, "epoch_rows": 3600, "eval_rows": 500},
        {"name": "a.b", "rows": 500, "train_rows": 500, "epoch_rows": 1400, "eval_rows": None},
    ]
    (run.path / "report.json").write_text(json.dumps({"sources": sources}))
    before = {"eval_loss": 4.0, "eval_large_loss": 4.5, "eval_large_rewards/accuracies": 0.5}
    result = Result(
        status="succeeded",
        name="mixture",
        method="dpo",
        evaluation_before=before,
        evaluation={"eval_loss": 2.0, "eval_large_loss": 1.5, "eval_large_rewards/accuracies": 0.75},
        sources=SourceRows.of_report(run.path / "report.json"),
    )

    whole = write_report(run, result).read_text()
    page = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", whole))

    assert "dataset rows in an epoch share held out loss rewards/accuracies" in page
    assert "large 5,000 3,600 72.0% 500 4.5 → 1.5 0.5 → 0.75" in page
    assert "a.b 500 1,400 28.0% 0" in page
    assert [label in whole for label in ("<!-- held-out rows -->", "<!-- large -->", "<!-- a.b -->")] == [
        True,
        True,
        False,
    ]
    assert (
        "held-out rows before after loss 4 2 " in page
    )  # the metrics of one dataset stand in its line alone
    assert Result.parse(result.model_dump_json().encode()) == result


@pytest.mark.parametrize("text", ["", "[]", "{", '{"sources": [{"name": 3}]}', '{"sources": 1}'])
def test_a_report_on_rows_that_cannot_be_read_names_no_datasets(tmp_path, text):
    (tmp_path / "report.json").write_text(text)

    assert SourceRows.of_report(tmp_path / "report.json") == []
    assert SourceRows.of_report(tmp_path / "missing.json") == []


def test_a_failed_run_has_a_report_without_numbers(tmp_path):
    run = run_with(tmp_path, {"step": 1, "loss": "nan"})
    error = {"kind": "TrainingError", "message": "loss is <nan>"}

    page = write_report(run, Result(status="failed", name="a", method="sft", error=error)).read_text()

    assert "<svg" not in page
    assert "TrainingError: loss is &lt;nan&gt;" in page


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("losses", "ticks", "note"),
    [
        ([3.0, 1e308, 2.0], {"2.0", "3.0"}, ["training: 1e+308 at step 2 is not drawn"]),
        ([1e308, -1e308], set(), ["training: 1e+308 at step 1 and 1 more values are not drawn"]),
        ([1e308], set(), ["training: 1e+308 at step 1 is not drawn"]),
        ([math.nan, math.inf, -math.inf], set(), ["training: nan at step 1 and 2 more values are not drawn"]),
        (
            [3.0, math.nan, 2.0, -1e308],
            {"2.0", "3.0"},
            ["training: nan at step 2 and 1 more values are not drawn"],
        ),
        ([3.0, 10**400, 2.0], {"2.0", "3.0"}, ["training: inf at step 2 is not drawn"]),
        ([1e100, -1e100], {"−1.0", "1.0", "1e100"}, []),
        ([5e-324, 0.0], {"0.00"}, []),
    ],
)
def test_losses_that_no_axis_holds_are_said_beside_the_picture_of_the_others(tmp_path, losses, ticks, note):
    run = run_with(tmp_path, *({"step": step, "loss": loss} for step, loss in enumerate(losses, 1)))

    page = write_report(run, Result(status="succeeded", name="a", method="sft")).read_text()

    assert re.findall(r"<figcaption>Loss: (.*)</figcaption>", page) == note
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == bool(ticks)
    for picture in pictures:
        minidom.parseString(picture.replace("xlink:href", "href"))
        assert ticks <= set(re.findall(r"<!-- (.*?) -->", picture))
        line = re.search(r'<path d="M ([^"]*)" clip-path="[^"]*" style="[^"]*#1f77b4', picture)
        assert line
        assert "L" in line[1], "the finite losses are joined by a line"
