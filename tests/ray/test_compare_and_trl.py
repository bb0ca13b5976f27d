# SPDX-License-Identifier: Apache-2.0
"""`tadrib train` on TRL's trainers, and `tadrib compare` on what it leaves; on Ray, started once for this file."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from tadrib.ray_jobs.cli.app import app
from tadrib.ray_jobs.driver.ray_cluster import cluster as ray_cluster
from tadrib.training.errors import SpecError
from tadrib.training.run.directory import RunDirectory
from tests.adapters.test_starting_points import opened
from tests.tiny import tiny_model, write_rows

pytestmark = pytest.mark.slow
PROMPTS = ["أين أجد المكتبة؟", "أبحث عن المقهى | هنا"]


@pytest.fixture(scope="module", autouse=True)
def ray_of_two_cpus() -> Iterator[None]:
    before = {**os.environ}
    os.environ.update(RAY_AUTH_MODE="disabled", RAY_ADDRESS="local", COLUMNS="160")
    with ray_cluster():
        yield
    os.environ.clear()
    os.environ.update(before)


def tadrib(*arguments: str) -> Result:
    """The command's result; an error that it would print is raised."""
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def train(folder: Path, method: str, **changes) -> RunDirectory:
    """One step of ``method`` on eight bundled rows, on one worker."""
    values = {
        "method": method,
        "name": f"{method}-run",
        "model_name": tiny_model(),
        "dataset_path": write_rows(folder / f"{method}.jsonl", f"{method}_train.jsonl", 8),
        "storage_path": str(folder / "runs"),
        "instruction_template": "tokenizer",
        "torch_dtype": "float32",
        "gradient_checkpointing": False,
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "warmup_ratio": 0.0,
        "max_steps": 1,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        **changes,
    }
    spec = folder / f"{method}.yaml"
    spec.write_text(yaml.safe_dump(values, allow_unicode=True))
    done = tadrib("train", str(spec))
    assert done.exit_code == 0, done.output
    return RunDirectory(folder / "runs" / values["name"])


@pytest.fixture(scope="module")
def dpo_run(tmp_path_factory) -> RunDirectory:
    """Trained by TRL, so that one run stands for both."""
    return train(tmp_path_factory.mktemp("dpo"), "dpo", engine="trl")


def test_dpo_on_trl_leaves_what_every_run_leaves(dpo_run):
    result = dpo_run.read_result()
    assert (result.status, result.method, result.steps_done) == ("succeeded", "dpo", 1)
    assert (dpo_run.final / "adapter_model.safetensors").is_file()
    (logged,) = [row for row in dpo_run.metrics.read() if "loss" in row]
    assert logged["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert logged["num_tokens"] > 0
    assert (dpo_run.path / "report.html").is_file()


def test_sft_on_trl_trains_through_the_command_line(tmp_path):
    run = train(tmp_path, "sft", engine="trl", use_lora=False, learning_rate=1e-3)
    assert run.read_result().status == "succeeded"
    assert (run.final / "model.safetensors").is_file()
    assert yaml.safe_load(run.spec_file.read_text())["engine"] == "trl"


def test_many_negatives_are_refused_on_trl_in_a_sentence(tmp_path):
    with pytest.raises(SpecError) as refused:
        train(tmp_path, "cpo", engine="trl")
    said = str(refused.value)
    assert "8 of 8 rows (first: row 1) have hard_negatives, which TRL does not support." in said
    assert "Write them as rejected, one row each, or use engine: tadrib." in said
    assert "Traceback" not in said


def test_several_rejected_answers_are_refused_on_trl_in_a_sentence(tmp_path):
    several = {"prompt": "س", "chosen": "أ", "rejected": ["ب", "ج"]}
    rows = tmp_path / "several.jsonl"
    rows.write_text(json.dumps(several, ensure_ascii=False) + "\n", encoding="utf-8")
    with pytest.raises(
        SpecError, match=r"1 of 1 rows .* have several rejected answers, but TRL compares pairs"
    ):
        train(tmp_path, "dpo", engine="trl", dataset_path=str(rows))


def test_a_run_that_starts_from_another_ones_adapter_says_so_everywhere(dpo_run, tmp_path):
    with pytest.raises(
        SpecError, match=rf"{dpo_run} contains a run, not a model\. Did you mean {dpo_run.final}\?"
    ):
        train(tmp_path, "dpo", model_name=str(dpo_run))

    run = train(tmp_path, "dpo", name="second", model_name=str(dpo_run.final))

    start = f"{dpo_run.final}, an adapter of {tiny_model()}"
    assert run.read_result().start == start
    assert f"Started from {start}." in (run.path / "report.html").read_text()
    assert f"  started from     {start}\n" in tadrib("status", str(run)).output
    losses = [row["loss"] for row in run.metrics.read() if "loss" in row]
    assert losses == [pytest.approx(math.log(2), abs=1e-5)], "the reference is the start, not its base"
    assert (
        json.loads((run.final / "adapter_config.json").read_text())["base_model_name_or_path"] == tiny_model()
    )
    assert opened(run.final) != pytest.approx(opened(dpo_run.final), abs=1e-2)
    first, second = (load_file(each.final / "adapter_model.safetensors") for each in (dpo_run, run))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name][:, :16] if "lora_B" in name else second[name][:16], tensor)


@pytest.fixture(scope="module")
def compared(dpo_run) -> list[dict[str, str]]:
    """What `--json` prints for both prompts."""
    prompts = [argument for prompt in PROMPTS for argument in ("--prompt", prompt)]
    done = tadrib("compare", str(dpo_run.path), *prompts, "--max-length", "8", "--json")
    assert done.exit_code == 0
    return json.loads(done.stdout)


def test_compare_gives_json_with_both_answers_to_each_prompt(compared):
    assert [row["prompt"] for row in compared] == PROMPTS
    for row in compared:
        assert set(row) == {"prompt", "trained_model_response", "reference_model_response"}
        assert row["trained_model_response"] != row["reference_model_response"], "one step at 0.05 is heard"


def test_compare_reads_prompts_from_a_file_and_skips_blank_lines(dpo_run, compared, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join([PROMPTS[0], "", PROMPTS[1], ""]), encoding="utf-8")
    done = tadrib("compare", str(dpo_run.path), "--file", str(file), "--max-length", "8", "--json")
    assert json.loads(done.stdout) == compared


def test_compare_writes_a_markdown_table_in_which_bars_are_text(dpo_run):
    done = tadrib("compare", str(dpo_run.path), "--prompt", PROMPTS[1], "--max-length", "8", "--markdown")
    heading, rule, row = done.stdout.splitlines()
    assert (heading, rule) == ("| prompt | trained | reference |", "|---|---|---|")
    assert row.startswith("| أبحث عن المقهى \\| هنا | ")


def test_compare_shows_a_table_by_default(dpo_run):
    done = tadrib("compare", str(dpo_run.path), "--prompt", PROMPTS[0], "--max-length", "8")
    assert all(word in done.stdout for word in ("prompt", "trained", "reference", PROMPTS[0]))


def test_no_library_has_a_word_in_what_compare_prints(dpo_run):
    command = [str(Path(sys.executable).parent / "tadrib"), "compare", str(dpo_run.path), "--json"]
    done = subprocess.run(
        [*command, "--prompt", PROMPTS[0], "--max-length", "2"], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert len(json.loads(done.stdout)) == 1


def test_compare_says_what_is_missing(dpo_run, tmp_path):
    with pytest.raises(SpecError, match=r"no prompt was given. Give --prompt TEXT"):
        tadrib("compare", str(dpo_run.path))
    with pytest.raises(SpecError, match=r"dpo-runn is not a run. Did you mean .*dpo-run\?"):
        tadrib("compare", str(dpo_run.path.with_name("dpo-runn")), "--prompt", "x")
    with pytest.raises(SpecError, match=r"--file: .*none.txt"):
        tadrib("compare", str(dpo_run.path), "--file", str(tmp_path / "none.txt"))
