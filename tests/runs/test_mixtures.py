# SPDX-License-Identifier: Apache-2.0
"""A run of several datasets: what its start says of each, and of one that changes before it is resumed."""

import io
from pathlib import Path

from rich.text import Text

from tadrib.ray_jobs.driver.display import Display
from tadrib.ray_jobs.driver.preparation import prepare
from tadrib.training.config import JobSpec
from tadrib.training.data.prepare import PreparedData
from tadrib.training.run.directory import RunDirectory
from tests.tiny import tiny_model, write_rows


def spec_in(folder: Path) -> JobSpec:
    listed = [
        {"path": write_rows(folder / f"{name}.jsonl", "sft_train.jsonl", count), "weight": weight}
        for name, count, weight in (("large", 40, 0.5), ("middle", 10, 0.3), ("small", 5, 0.2))
    ]
    return JobSpec(
        method="sft",
        name="run",
        model_name=tiny_model(),
        datasets=[listed[0] | {"split": 0.2}, *listed[1:]],
        storage_path=str(folder / "runs"),
    )


def started(spec: JobSpec) -> tuple[PreparedData, str]:
    run, screen = RunDirectory(spec.run_dir), io.StringIO()
    run.create()
    prepare(spec, run, Display(screen))
    (run.checkpoints / "checkpoint-10").mkdir(parents=True, exist_ok=True)
    (run.checkpoints / "checkpoint-10" / "manifest.json").write_text('{"files": {}}')
    return PreparedData.load(run.data), Text.from_ansi(screen.getvalue()).plain


def test_a_start_tells_the_rows_and_share_of_each_dataset(tmp_path):
    data, said = started(spec_in(tmp_path))

    assert f"{len(data.train)} rows to train on, {len(data.eval)} held out" in said
    assert [source.epoch_rows for source in data.report.sources] == [24, 14, 9]
    assert "large: 24 rows (51.1% of an epoch, 0.75 times its 32 rows), 8 held out" in said
    assert "middle: 14 rows (29.8% of an epoch, 1.40 times its 10 rows)" in said
    assert "small: 9 rows (19.1% of an epoch, 1.80 times its 5 rows)" in said


def test_a_dataset_that_changed_before_a_resume_is_told_by_its_place_in_the_list(tmp_path, caplog):
    spec = spec_in(tmp_path)
    before, _ = started(spec)
    write_rows(tmp_path / "middle.jsonl", "sft_train.jsonl", 11)

    after, _ = started(spec)

    assert list(after.train) == list(before.train)
    [told] = [record.message for record in caplog.records if "has changed" in record.message]
    assert told.startswith(f"datasets[1].path: {tmp_path / 'middle.jsonl'} has changed since the run began.")
    assert "The run continues with the earlier rows" in told
