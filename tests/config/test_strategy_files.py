# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed files: the presets, and what a user's own may say."""

from __future__ import annotations

import json

import pytest

from training.config import SFTConfig, parse_spec
from training.config.strategy import PRESETS, offloads, read_settings, zero_stage
from training.errors import ResourceError, SpecError
from training.strategies import check_tools, deepspeed_settings

SPEC = {"method": "sft", "name": "run", "dataset_path": "data/train.jsonl"}


def problems_of(**keys) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(SPEC | keys)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(("strategy", "stage"), [("zero2", 2), ("zero3", 3), ("zero3-offload", 3)])
def test_a_copy_of_a_preset_is_as_good_as_its_name(tmp_path, strategy, stage):
    copy = tmp_path / "mine.json"
    copy.write_text((PRESETS / f"{strategy}.json").read_text())

    config = parse_spec({**SPEC, "deepspeed": str(copy), "max_grad_norm": 0.5}).config

    assert deepspeed_settings(config) == deepspeed_settings(SFTConfig(strategy=strategy))
    assert zero_stage(read_settings("ddp", str(copy))) == stage
    assert offloads(read_settings("ddp", str(copy)), "optimizer") == (strategy == "zero3-offload")


def test_there_is_a_preset_for_each_strategy_and_nothing_else():
    names = SFTConfig.model_json_schema()["properties"]["strategy"]["enum"]
    assert sorted(path.stem for path in PRESETS.iterdir()) == sorted(set(names) - {"ddp"})


def test_every_value_that_contradicts_the_spec_is_named(tmp_path):
    file = tmp_path / "mine.json"
    repeated = {"train_batch_size": 64, "gradient_clipping": 1.0, "gradient_accumulation_steps": 2}
    file.write_text(json.dumps(repeated | {"scheduler": {}, "fp16": {"enabled": True}}))

    [problem] = problems_of(deepspeed=str(file), resources={"num_workers": 4})

    assert "train_batch_size: 64 (the spec says 16)" in problem
    assert "gradient_accumulation_steps: 2 (the spec says 1)" in problem
    assert "fp16.enabled: True (the spec says False)" in problem
    assert "scheduler (the spec says it by lr_scheduler_type and warmup_ratio)" in problem
    assert "gradient_clipping" not in problem, "the same value twice is no contradiction"


def test_a_file_that_is_no_json_says_where_it_breaks(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"zero_optimization": {"stage": 2,}}')

    [problem] = problems_of(deepspeed=str(file))

    assert "line 1 column" in problem
    assert "trailing commas" in problem


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path):
    (tmp_path / "zero2-mine.json").write_text("{}")

    with pytest.raises(SpecError, match=r"Did you mean .*zero2-mine\.json\?"):
        deepspeed_settings(SFTConfig(deepspeed=tmp_path / "zero2_mine.json"))
    with pytest.raises(SpecError, match=r"nor does .*nowhere"):
        deepspeed_settings(SFTConfig(deepspeed=tmp_path / "nowhere" / "a.json"))


def test_whole_weights_are_gathered_for_saving_whatever_the_file_says():
    text = '{"zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": false}}'

    settings = deepspeed_settings(SFTConfig(deepspeed=text))

    assert settings["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert settings["train_batch_size"] == "auto"


def test_a_compiler_that_is_needed_and_missing_is_said_before_anything_starts(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    own = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}

    with pytest.raises(ResourceError, match=r'Add "zero_force_ds_cpu_optimizer": false'):
        check_tools(own)
    check_tools(own | {"zero_force_ds_cpu_optimizer": False})
    check_tools(read_settings("zero3-offload", None))


def test_an_offloaded_optimizer_is_the_fused_one_unless_another_was_set():
    offloaded = SPEC | {"strategy": "zero3-offload"}

    assert parse_spec(offloaded).to_mapping()["optim"] == "adamw_torch_fused"
    assert parse_spec(offloaded | {"optim": "sgd"}).to_mapping()["optim"] == "sgd"
    assert parse_spec(SPEC | {"strategy": "zero3"}).to_mapping()["optim"] == "adamw_torch"
