# SPDX-License-Identifier: Apache-2.0
import io

from tadrib.ray_jobs.driver.display import Display
from tadrib.ray_jobs.driver.preparation import _left_out, prepare
from tadrib.training.config import JobSpec
from tadrib.training.data.report.check import DataReport
from tadrib.training.run.directory import RunDirectory
from tests.tiny import tiny_model, write_rows


def report(**counts: int) -> DataReport:
    given = {"rows": 9, "usable_rows": 9, "bad_rows": 0, "max_bad_rows": 2, **counts}
    return DataReport(dataset="rows.jsonl", method="sft", source="JSON Lines", place_unit="line", **given)


def test_every_row_that_is_left_out_or_cut_is_said_with_the_key_that_allowed_it():
    lines = list(_left_out(report(bad_rows=2, cut=3, dropped=1)))

    assert [line.split(" rows are ")[0] for line in lines] == ["2 bad", "3", "1"]
    assert ["max_bad_rows" in lines[0], "truncation" in lines[1], "truncation" in lines[2]] == [True] * 3


def test_nothing_is_said_when_every_row_is_kept():
    assert list(_left_out(report())) == []


def test_another_run_with_the_same_rows_tokenizes_none_and_says_so(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", "dpo_train.jsonl", 12)

    def prepared(name: str, **changes: object) -> str:
        spec = JobSpec(
            method="dpo",
            name=name,
            model_name=tiny_model(),
            dataset_path=rows,
            storage_path=str(tmp_path),
            **changes,
        )
        run, screen = RunDirectory(spec.run_dir), io.StringIO()
        run.create()
        prepare(spec, run, Display(screen))
        return screen.getvalue()

    assert "12 rows to train on\n" in prepared("first")
    assert "12 rows to train on; prepared before, none tokenized\n" in prepared("second", beta=0.5)
    assert "12 rows to train on\n" in prepared("longer", max_length=600)
