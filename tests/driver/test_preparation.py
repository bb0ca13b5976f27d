# SPDX-License-Identifier: Apache-2.0
from tadrib.ray_jobs.driver.preparation import _left_out
from tadrib.training.data.report.check import DataReport


def report(**counts: int) -> DataReport:
    given = {"rows": 9, "usable_rows": 9, "bad_rows": 0, "max_bad_rows": 2, **counts}
    return DataReport(dataset="rows.jsonl", method="sft", source="JSON Lines", place_unit="line", **given)


def test_every_row_that_is_left_out_or_cut_is_said_with_the_key_that_allowed_it():
    lines = list(_left_out(report(bad_rows=2, cut=3, dropped=1)))

    assert [line.split(" rows are ")[0] for line in lines] == ["2 bad", "3", "1"]
    assert ["max_bad_rows" in lines[0], "truncation" in lines[1], "truncation" in lines[2]] == [True] * 3


def test_nothing_is_said_when_every_row_is_kept():
    assert list(_left_out(report())) == []
