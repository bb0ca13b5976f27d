# SPDX-License-Identifier: Apache-2.0
"""The example specs: each parses, says how it is run, and fits the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tadrib.training.config import METHODS, load_spec
from tadrib.training.data.report.check import check_data

EXAMPLES = Path(__file__).parents[2] / "examples"
SPECS = sorted(EXAMPLES.glob("*.yaml"))
LOCAL = [path for path in SPECS if path.name < "07"]


def header(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])


def overrides_in(path: Path) -> list[str]:
    line = next(line for line in header(path).splitlines() if line.startswith("# Change:"))
    return line.split(".yaml ", 1)[1].split()


def test_there_is_an_example_of_every_method():
    assert [load_spec(path).method for path in LOCAL] == ["sft", "dpo", "ipo", "kto", "cpo", "simpo"]
    assert len(LOCAL) == len(METHODS)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_the_header_gives_prerequisite_command_and_a_change_that_works(path):
    text = header(path)
    assert all(f"# {word}:" in text for word in ("First", "Run", "Change"))
    assert f"examples/{path.name}" in text
    changed = load_spec(path, overrides_in(path))
    assert changed.to_yaml() != load_spec(path).to_yaml()


@pytest.mark.parametrize("path", LOCAL, ids=lambda path: path.name)
def test_a_local_example_reads_the_bundled_data_of_its_method(path):
    spec = load_spec(path)
    config = spec.config
    assert (config.dataset_path, config.eval_dataset_path) == (
        f"examples/data/{spec.method}_train.jsonl",
        f"examples/data/{spec.method}_heldout.jsonl",
    )
    assert (EXAMPLES.parent / config.dataset_path).is_file()
    assert (EXAMPLES.parent / config.eval_dataset_path).is_file()
    assert spec.world_size == 2
    assert spec.name == f"{spec.method}-arabic"


def test_the_preference_examples_start_from_the_sft_run_and_write_prompts_as_it_does():
    sft, *others = (load_spec(path) for path in LOCAL)
    assert sft.config.model_name == "models/tiny"
    for spec in others:
        assert Path(spec.config.model_name) == Path(sft.run_dir) / "final"
        assert spec.config.instruction_template == sft.config.instruction_template


def test_the_mixture_example_weighs_three_bundled_datasets_and_holds_rows_of_each_out():
    config = load_spec(EXAMPLES / "07-dpo-mixture.yaml").config
    assert [source.label for source in config.sources] == ["polite", "brief", "in-words"]
    assert sum(source.weight for source in config.sources) == pytest.approx(1)
    assert all((EXAMPLES.parent / source.path).is_file() for source in config.sources)
    assert [config.of_source(source).validation_split for source in config.sources] == [0.1, 0.1, 0.2]


def test_the_cluster_example_asks_for_gpus_and_shared_storage():
    spec = load_spec(EXAMPLES / "10-dpo-qwen7b-qlora.yaml")
    assert spec.config.load_in_4bit
    assert (spec.world_size, spec.resources.gpus_per_worker) == (8, 1)
    assert spec.run_dir.startswith("s3://")


def test_the_example_of_a_spreadsheet_reads_its_own_table():
    config = load_spec(EXAMPLES / "08-sft-csv.yaml").config
    report = check_data(str(EXAMPLES.parent / config.dataset_path), "sft", config, None)
    assert (report.refusals, report.usable_rows, report.formats) == ([], 40, {"tadrib": 40})
