# SPDX-License-Identifier: Apache-2.0
from tadrib.ray_jobs.driver.plan import Plan
from tadrib.training.config import parse_spec
from tadrib.training.run.directory import RunDirectory


def test_workers_get_the_adjusted_values_and_the_driver_prepares_by_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mapping = {"method": "sft", "name": "run", "dataset_path": "rows.jsonl", "evaluation_strategy": "epoch"}
    spec = parse_spec(mapping)

    plan = Plan.of(spec, RunDirectory(spec.run_dir))
    used = plan.spec

    assert (used.config.validation_split, used.config.save_strategy) == (0.05, "epoch")
    assert used.config.output_dir == f"{tmp_path}/runs/run/checkpoints"
    assert (spec.storage_path, spec.config.validation_split) == ("./runs", 0.0), (
        "what was given stays as it is"
    )
    assert [notice.partition(":")[0] for notice in plan.notices] == [
        "validation_split",
        "save_strategy",
        "torch_dtype",
    ]


def test_paths_that_are_here_are_absolute_and_all_others_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "reference").mkdir()
    mapping = {"method": "dpo", "name": "run", "dataset_path": "rows.jsonl", "ref_model_name": "reference"}
    spec = parse_spec(mapping | {"model_name": "org/model", "eval_dataset_path": "gone.jsonl"})

    used = Plan.of(spec, RunDirectory(spec.run_dir)).spec

    assert {key: value for key, value, _ in used.paths()} == {
        "model_name": "org/model",
        "ref_model_name": f"{tmp_path}/reference",
        "dataset_path": f"{tmp_path}/rows.jsonl",
        "eval_dataset_path": "gone.jsonl",
        "storage_path": f"{tmp_path}/runs",
    }
