# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed files: the presets, and what a user's own may say."""

from __future__ import annotations

import json

import pytest

from tadrib.training.config import SFTConfig, parse_spec, resolve
from tadrib.training.config.strategy import PRESETS, offloads, read_settings, zero_stage
from tadrib.training.errors import ResourceError, SpecError
from tadrib.training.model import deepspeed as strategies
from tadrib.training.model.deepspeed import check_tools, deepspeed_settings
from tadrib.training.model.hardware import fit_to_hardware

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
    sections = {"optimizer": {"type": "AdamW", "params": {"lr": 1e-5}}, "scheduler": {"type": "WarmupLR"}}
    file.write_text(json.dumps(repeated | sections | {"fp16": {"enabled": True}}))
    set_otherwise = {"learning_rate": 2e-4, "lr_scheduler_type": "cosine"}

    [problem] = problems_of(deepspeed=str(file), resources={"num_workers": 4}, **set_otherwise)

    assert "train_batch_size: 64 (the spec says 16)" in problem
    assert "gradient_accumulation_steps: 2 (the spec says 1)" in problem
    assert "fp16.enabled: True (the spec says False)" in problem
    assert "optimizer.params.lr: 1e-05 (the spec says learning_rate: 0.0002)" in problem
    assert 'scheduler.type: "WarmupLR" (the spec says lr_scheduler_type: cosine)' in problem
    assert "gradient_clipping" not in problem, "the same value twice is no contradiction"


HUGGING_FACE = {  # the shape of the configurations that transformers' own guide shows
    "fp16": {"enabled": "auto", "loss_scale": 0, "initial_scale_power": 16, "min_loss_scale": 1},
    "bf16": {"enabled": "auto"},
    "optimizer": {
        "type": "AdamW",
        "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"},
    },
    "scheduler": {
        "type": "WarmupLR",
        "params": {"warmup_min_lr": "auto", "warmup_max_lr": "auto", "warmup_num_steps": "auto"},
    },
    "zero_optimization": {"stage": 2, "reduce_bucket_size": "auto", "overlap_comm": True},
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "steps_per_print": 2000,
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "wall_clock_breakdown": False,
}


def test_a_configuration_full_of_auto_is_taken_and_its_schedule_becomes_the_specs():
    in_yaml = parse_spec(SPEC | {"deepspeed": HUGGING_FACE})
    in_python = SFTConfig()
    in_python.deepspeed = HUGGING_FACE

    assert in_yaml.config.deepspeed == in_python.deepspeed == json.dumps(HUGGING_FACE)
    assert in_yaml.to_mapping()["lr_scheduler_type"] == "constant_with_warmup"
    assert in_yaml.to_mapping()["learning_rate"] == 2e-4
    given = deepspeed_settings(in_python)
    assert "optimizer" not in given
    assert "scheduler" not in given
    assert given["zero_optimization"] == HUGGING_FACE["zero_optimization"]
    assert given["fp16"]["initial_scale_power"] == 16
    assert given["steps_per_print"] == 2000


def test_numbers_in_the_sections_take_the_place_of_defaults():
    params = {"lr": 3e-5, "weight_decay": 0, "betas": [0.9, 0.999], "eps": 1e-8}
    own = {"optimizer": {"type": "Adam", "params": params}, "scheduler": {"type": "WarmupDecayLR"}}

    resolved = resolve(parse_spec(SPEC | {"method": "dpo", "deepspeed": own}))

    config = resolved.spec.config
    assert (config.learning_rate, config.weight_decay, config.optim) == (3e-5, 0.0, "adamw_torch")
    assert config.lr_scheduler_type == "linear"
    said = {each.key: str(each) for each in resolved.adjustments}
    assert said["learning_rate"] == (
        "learning_rate: 3e-05 instead of the default 5e-07,"
        " because the DeepSpeed configuration says optimizer.params.lr: 3e-05"
    )


@pytest.mark.parametrize("value", [{"a": {1, 2}}, {"a": float("nan")}])
def test_a_mapping_that_json_cannot_hold_is_refused(value):
    with pytest.raises(SpecError, match="deepspeed: must be text"):
        SFTConfig(deepspeed=value)


@pytest.mark.parametrize("strategy", ["zero2", "zero3", "zero3-offload"])
def test_the_files_of_the_guide_name_the_presets_where_there_are_none(
    tmp_path, monkeypatch, caplog, strategy
):
    monkeypatch.chdir(tmp_path)
    name = f"configs/deepspeed_{strategy.replace('-', '_')}.json"
    config = SFTConfig(deepspeed=name)

    assert deepspeed_settings(config) == deepspeed_settings(SFTConfig(strategy=strategy))
    assert parse_spec(SPEC | {"deepspeed": name}).config.deepspeed == name
    fit_to_hardware(config)
    assert f"{name} does not exist, so the preset of that name is used: {strategy}." in caplog.text

    (tmp_path / "configs").mkdir()
    (tmp_path / name).write_text('{"zero_optimization": {"stage": 1}}')
    assert zero_stage(deepspeed_settings(config)) == 1, "a file that is there is the one that is meant"


def test_compiling_is_announced_where_nothing_is_compiled_yet(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    own = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}

    strategies.warn_about_compilation(SFTConfig(deepspeed=own))
    assert "compiled first, once per machine, which takes about two minutes" in caplog.text

    caplog.clear()
    (tmp_path / "cpu_adam").mkdir()
    (tmp_path / "cpu_adam" / "cpu_adam.so").touch()
    strategies.warn_about_compilation(SFTConfig(deepspeed=own))
    strategies.warn_about_compilation(SFTConfig(strategy="zero3-offload"))
    assert not caplog.text


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
