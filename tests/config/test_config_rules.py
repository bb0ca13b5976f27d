# SPDX-License-Identifier: Apache-2.0
"""Each rule by a sentence, a spec that breaks it, and the spec that follows the advice."""

from __future__ import annotations

import re

import pytest

from tadrib.training.config import METHODS, JobSpec, parse_spec
from tadrib.training.config.resources import Resources
from tadrib.training.config.rules.common import RULES
from tadrib.training.errors import SpecError

GPU = {"resources": {"gpus_per_worker": 1}}
ZERO3 = '{"zero_optimization": {"stage": 3}}'
# sentence: (rule, keys that break it, changes that mend it)
CASES = {
    "4-bit and 8-bit together": (
        "one_quantization",
        {"load_in_4bit": True, "load_in_8bit": True},
        {"load_in_8bit": False},
    ),
    "quantized weights trained in full": (
        "quantized_weights_need_lora",
        {"load_in_8bit": True, "use_lora": False},
        {"use_lora": True},
    ),
    "fp16 and bf16 together": ("one_mixed_precision", {**GPU, "fp16": True, "bf16": True}, {"fp16": False}),
    "fp16 on bfloat16 weights that were asked for": (
        "mixed_precision_fits_weights",
        {**GPU, "fp16": True, "torch_dtype": "bfloat16"},
        {"torch_dtype": "float32"},
    ),
    "bf16 on float16 weights": (
        "mixed_precision_fits_weights",
        {"bf16": True, "torch_dtype": "float16"},
        {"torch_dtype": "float32"},
    ),
    "full fine-tuning of float16 weights": (
        "trained_weights_are_not_float16",
        {"torch_dtype": "float16", "use_lora": False},
        {"torch_dtype": "bfloat16"},
    ),
    "LoRA of rank 0": ("lora_has_a_rank", {"lora_r": 0}, {"use_lora": False}),
    "LoRA on no layer": ("lora_has_layers", {"lora_target_modules": []}, {"use_lora": False}),
    "LoRA on a broken regular expression": (
        "lora_layers_are_a_pattern",
        {"lora_target_modules": "*_proj"},
        {"lora_target_modules": "all-linear"},
    ),
    "a rank for a broken regular expression": (
        "lora_patterns_are_expressions",
        {"rank_pattern": {"q_proj": 4, "*_proj": 8}},
        {"rank_pattern": {"q_proj": 4, ".*_proj": 8}},
    ),
    "adapters that start from nothing known": (
        "lora_start_is_known",
        {"init_lora_weights": "pisa"},
        {"init_lora_weights": "pissa"},
    ),
    "adapters that start at random": (
        "lora_start_is_known",
        {"init_lora_weights": "false"},
        {"init_lora_weights": "gaussian"},
    ),
    "adapters that start from training rows": (
        "lora_start_is_known",
        {"init_lora_weights": "eva"},
        {"init_lora_weights": "pissa"},
    ),
    "PiSSA of 4-bit weights": (
        "principal_start_has_whole_weights",
        {"init_lora_weights": "pissa_niter_16", "load_in_4bit": True},
        {"init_lora_weights": "loftq"},
    ),
    "OLoRA of 8-bit weights": (
        "principal_start_has_whole_weights",
        {"init_lora_weights": "olora", "load_in_8bit": True},
        {"init_lora_weights": "kaiming"},
    ),
    "LoftQ of weights that nothing rounded": (
        "loftq_has_4_bits",
        {"init_lora_weights": "loftq"},
        {"load_in_4bit": True},
    ),
    "LoftQ beside a frozen copy": (
        "loftq_is_its_own_reference",
        {"method": "dpo", "init_lora_weights": "loftq", "load_in_4bit": True, "reference": "cache"},
        {"reference": "adapter_off"},
    ),
    "DoRA on the rest that PiSSA leaves": (
        "dora_starts_from_the_weights",
        {"use_dora": True, "init_lora_weights": "pissa_niter_16"},
        {"use_dora": False},
    ),
    "a bias on DoRA": (
        "lora_bias_is_for_plain_lora",
        {"use_dora": True, "lora_bias": True},
        {"lora_bias": False},
    ),
    "a bias on PiSSA": (
        "lora_bias_is_for_plain_lora",
        {"init_lora_weights": "pissa", "lora_bias": True},
        {"init_lora_weights": "kaiming"},
    ),
    "DoRA in shards": (
        "sharded_weights_are_not_read",
        {"use_dora": True, "strategy": "zero3"},
        {"strategy": "zero2"},
    ),
    "whole modules in shards of a file": (
        "sharded_weights_are_not_read",
        {"modules_to_save": ["norm"], "deepspeed": ZERO3},
        {"modules_to_save": []},
    ),
    "two sizes of a micro-batch": (
        "batch_has_one_size",
        {"method": "cpo", "max_tokens_per_batch": 2048, "per_device_train_batch_size": 2},
        {"max_tokens_per_batch": None},
    ),
    "zero steps": ("max_steps_trains", {"max_steps": 0}, {"max_steps": -1}),
    "two sources of evaluation rows": (
        "one_evaluation_set",
        {"eval_dataset_path": "e.jsonl", "validation_split": 0.1},
        {"validation_split": 0.0},
    ),
    "evaluation asked for without data": (
        "evaluation_has_rows",
        {"evaluation_strategy": "epoch", "validation_split": 0.0},
        {"validation_split": 0.05},
    ),
    "the best model asked for without evaluation": (
        "best_model_is_scored_and_saved",
        {"load_best_model_at_end": True, "evaluation_strategy": "no"},
        {"load_best_model_at_end": False},
    ),
    "the best model asked for without evaluation data": (
        "best_model_is_scored_and_saved",
        {"load_best_model_at_end": True, "validation_split": 0.0},
        {"validation_split": 0.1},
    ),
    "the best model saved at other times than scored": (
        "best_model_is_scored_and_saved",
        {
            "load_best_model_at_end": True,
            "validation_split": 0.1,
            "evaluation_strategy": "steps",
            "save_strategy": "epoch",
        },
        {"save_strategy": "steps"},
    ),
    "the best model never saved": (
        "best_model_is_scored_and_saved",
        {"load_best_model_at_end": True, "validation_split": 0.1, "save_strategy": "no"},
        {"load_best_model_at_end": False},
    ),
    "saving between evaluations": (
        "best_model_steps_align",
        {"load_best_model_at_end": True, "validation_split": 0.1, "eval_steps": 300, "save_steps": 1000},
        {"save_steps": 900},
    ),
    "a best metric that nobody logs": (
        "best_metric_is_logged",
        {"metric_for_best_model": "eval_perplexty"},
        {"metric_for_best_model": "eval_perplexity"},
    ),
    "a best metric in the wrong direction": (
        "best_metric_has_a_direction",
        {"greater_is_better": True},
        {"greater_is_better": False},
    ),
    "a prompt as long as the whole": (
        "prompt_leaves_room",
        {"method": "dpo", "max_prompt_length": 512},
        {"max_length": 1024},
    ),
    "two lengths of a sequence": (
        "one_longest_sequence",
        {"method": "dpo", "max_seq_length": 1024, "max_length": 2048},
        {"max_seq_length": 2048},
    ),
    "two regularisations of IPO": (
        "beta_is_tau",
        {"method": "ipo", "beta": 0.5, "tau": 0.1},
        {"tau": 0.5},
    ),
    "a response header where the template has its own": (
        "response_template_is_alpacas",
        {"response_template": "### Answer:\n", "instruction_template": "chatml"},
        {"instruction_template": "alpaca"},
    ),
    "a budget of tokens for TRL": (
        "trl_counts_rows",
        {"method": "cpo", "engine": "trl", "max_tokens_per_batch": 2048},
        {"max_tokens_per_batch": None},
    ),
    "label smoothing in a loss that has none": (
        "smoothing_fits_loss",
        {"method": "dpo", "label_smoothing": 0.1, "loss_type": "hinge"},
        {"loss_type": "robust"},
    ),
    "a margin in a CPO loss that has none": (
        "gamma_fits_loss",
        {"method": "cpo", "simpo_gamma": 0.5},
        {"loss_type": "simpo"},
    ),
    "a reference model without its name": (
        "reference_model_is_named",
        {"method": "kto", "reference": "model"},
        {"ref_model_name": "m"},
    ),
    "a reference model beside adapters off": (
        "reference_is_one_model",
        {"method": "ipo", "reference": "adapter_off", "ref_model_name": "m"},
        {"reference": "model"},
    ),
    "adapters off without adapters": (
        "adapters_can_be_turned_off",
        {"method": "dpo", "reference": "adapter_off", "use_lora": False},
        {"reference": "copy"},
    ),
    "a name with capitals": ("name_is_a_label", {"name": "Arabic_DPO"}, {"name": "arabic-dpo"}),
    "a name that starts with a hyphen": ("name_is_a_label", {"name": "-a"}, {"name": "a"}),
    "a name of 41 characters": ("name_is_a_label", {"name": "a" * 41}, {"name": "a" * 40}),
    "more workers at least than at most": (
        "worker_range_is_ordered",
        {"resources": {"num_workers": {"min": 3, "max": 2}}},
        {"resources": {"num_workers": {"min": 2, "max": 3}}},
    ),
    "a node that the workers do not fill": (
        "nodes_are_filled",
        {"resources": {"num_workers": 12, "workers_per_node": 8}},
        {"resources": {"num_workers": 12, "workers_per_node": 6}},
    ),
    "a range that is not of whole nodes": (
        "nodes_are_filled",
        {"resources": {"num_workers": {"min": 2, "max": 16}, "workers_per_node": 8}},
        {"resources": {"num_workers": {"min": 8, "max": 16}, "workers_per_node": 8}},
    ),
    "two GPUs in one process": (
        "one_gpu_per_worker",
        {"resources": {"num_workers": 2, "gpus_per_worker": 2}},
        {"resources": {"num_workers": 4, "gpus_per_worker": 1}},
    ),
    "memory in gigabytes by another spelling": (
        "memory_is_a_quantity",
        {"resources": {"memory_per_worker": "64GB"}},
        {"resources": {"memory_per_worker": "64Gi"}},
    ),
    "fp16 without a GPU": ("fp16_has_a_gpu", {"fp16": True}, GPU),
    "Liger's kernels without a GPU": ("liger_has_a_gpu", {"use_liger_kernel": True}, GPU),
    "Liger's kernels in TRL's trainer": (
        "liger_is_for_our_engine",
        {**GPU, "use_liger_kernel": True, "engine": "trl"},
        {"engine": "tadrib"},
    ),
    "NCCL without a GPU": ("nccl_has_a_gpu", {"ddp_backend": "nccl"}, GPU),
    "a preset beside a DeepSpeed file": (
        "one_strategy",
        {"strategy": "zero2", "deepspeed": ZERO3},
        {"strategy": "ddp"},
    ),
    "a DeepSpeed configuration that is no JSON": (
        "deepspeed_file_is_json",
        {"deepspeed": "{stage: 3}"},
        {"deepspeed": ZERO3},
    ),
    "quantized weights in shards": (
        "quantized_weights_stay_whole",
        {"load_in_4bit": True, "strategy": "zero3"},
        {"strategy": "zero2"},
    ),
    "quantized weights in shards by a file": (
        "quantized_weights_stay_whole",
        {"load_in_8bit": True, "deepspeed": ZERO3},
        {"load_in_8bit": False},
    ),
    "a setting of DDP without DDP": (
        "unused_parameters_are_ddps",
        {"ddp_find_unused_parameters": True, "strategy": "zero2"},
        {"strategy": "ddp"},
    ),
    "gloo for the shards of GPUs": (
        "gpus_shard_over_nccl",
        {**GPU, "ddp_backend": "gloo", "strategy": "zero3"},
        {"strategy": "ddp"},
    ),
    "an optimizer of whole weights on flattened ones": (
        "sharded_optimizer_is_elementwise",
        {"optim": "adafactor", "strategy": "zero2"},
        {"optim": "adamw_torch"},
    ),
    "an optimizer of GPUs in main memory": (
        "offloaded_optimizer_runs_on_cpu",
        {"optim": "paged_adamw_8bit", "strategy": "zero3-offload"},
        {"optim": "adamw_torch_fused"},
    ),
    "shards for a number of workers that changes": (
        "sharded_runs_have_fixed_workers",
        {"strategy": "zero2", "resources": {"num_workers": {"min": 2, "max": 4}}},
        {"resources": {"num_workers": 4}},
    ),
    "TRL's trainer in shards": (
        "trl_trains_with_ddp",
        {"engine": "trl", "strategy": "zero2"},
        {"strategy": "ddp"},
    ),
    "a batch size written twice, differently": (
        "deepspeed_file_agrees",
        {"deepspeed": '{"train_micro_batch_size_per_gpu": 8, "train_batch_size": 8}'},
        {"per_device_train_batch_size": 8},
    ),
    "another optimizer than was set": (
        "deepspeed_file_agrees",
        {"deepspeed": '{"optimizer": {"type": "AdamW"}}', "optim": "sgd"},
        {"optim": "adamw_torch"},
    ),
    "a parameter of the optimizer that no key has": (
        "deepspeed_file_agrees",
        {"deepspeed": '{"optimizer": {"type": "AdamW", "params": {"betas": [0.8, 0.99]}}}'},
        {"deepspeed": '{"optimizer": {"type": "AdamW", "params": {"betas": "auto"}}}'},
    ),
    "an optimizer of DeepSpeed alone": (
        "deepspeed_file_agrees",
        {"deepspeed": '{"optimizer": {"type": "OneBitAdam"}}'},
        {"deepspeed": ZERO3},
    ),
    "training rows named in two places": (
        "one_list_of_rows",
        {"dataset_path": "a.jsonl", "datasets": [{"path": "b.jsonl"}]},
        {"datasets": []},
    ),
    "two datasets of one name": (
        "datasets_have_names_of_their_own",
        {"datasets": [{"path": "a/x.jsonl"}, {"path": "b/x.jsonl"}]},
        {"datasets": [{"path": "a/x.jsonl"}, {"path": "b/x.jsonl", "name": "y"}]},
    ),
    "a weight for one dataset alone": (
        "all_datasets_have_a_weight_or_none",
        {"datasets": [{"path": "a.jsonl", "weight": 2}, {"path": "b.jsonl"}]},
        {"datasets": [{"path": "a.jsonl", "weight": 2}, {"path": "b.jsonl", "weight": 1}]},
    ),
    "a weight and a number of rows": (
        "a_weight_or_a_number_of_rows",
        {"datasets": [{"path": "a.jsonl", "weight": 2, "max_rows": 5}]},
        {"datasets": [{"path": "a.jsonl", "max_rows": 5}]},
    ),
    "a second place for checkpoints": (
        "checkpoints_stay_in_run_directory",
        {"output_dir": "./elsewhere"},
        {"output_dir": "./checkpoints"},
    ),
}


def make_mapping(**keys):
    rows = {} if "datasets" in keys else {"dataset_path": "data/train.jsonl"}
    return {"method": "sft", "name": "run", **rows, **keys}


@pytest.mark.parametrize("sentence", CASES)
def test_a_spec_is_refused_for(sentence):
    rule, keys, _ = CASES[sentence]
    with pytest.raises(SpecError) as caught:
        parse_spec(make_mapping(**keys))
    assert [problem.rule for problem in caught.value.problems] == [rule]
    problem = caught.value.problems[0]
    assert problem.action, "a broken rule says what to do"
    assert re.split(r"[.\[]", problem.where)[0] in keys or problem.where in ("use_lora", "save_strategy")


@pytest.mark.parametrize("sentence", CASES)
def test_following_the_advice_mends(sentence):
    _, keys, mended = CASES[sentence]
    mapping = make_mapping(**{**keys, **mended})
    assert parse_spec(mapping).as_given() == mapping


def test_every_rule_has_a_case():
    in_python = {"bfloat16_has_a_gpu", "early_stopping_has_scores"}  # not of a spec: tested with adjust
    assert {each.name for each in RULES} - in_python == {rule for rule, _, _ in CASES.values()}


def test_every_rule_has_words_and_reads_keys_that_exist():
    known = {key for each in METHODS.values() for key in each.config.model_fields} | set(JobSpec.model_fields)
    known |= {f"resources.{key}" for key in Resources.model_fields}
    known |= {
        "run.device",
        "run.device_reason",
        "run.bf16",
        "run.metrics",
        "run.eval_data",
        "run.may_split",
        "run.checkpoints",
    }
    for each in RULES:
        assert each.summary.endswith("."), each.name
        assert set(each.keys) <= known, each.name


def test_a_contradiction_says_both_keys():
    with pytest.raises(SpecError, match=r"fp16: true, but resources\.gpus_per_worker is 0"):
        parse_spec(make_mapping(fp16=True))


def test_rules_run_while_other_keys_are_wrong():
    with pytest.raises(SpecError) as caught:
        parse_spec(make_mapping(lora_r="many", betta=1, load_in_4bit=True, load_in_8bit=True, name="A"))
    assert {(problem.where, problem.rule) for problem in caught.value.problems} == {
        ("lora_r", ""),
        ("betta", ""),
        ("load_in_4bit", "one_quantization"),
        ("name", "name_is_a_label"),
    }


def test_a_rule_keeps_quiet_about_a_key_that_did_not_parse():
    with pytest.raises(SpecError) as caught:
        parse_spec(make_mapping(load_in_4bit="perhaps", load_in_8bit=True))
    assert [problem.where for problem in caught.value.problems] == ["load_in_4bit"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("keys", [{}, GPU, {"validation_split": 0.1}], ids=["alone", "gpu", "split"])
def test_defaults_alone_break_no_rule(method, keys):
    mapping = make_mapping(**{**keys, "method": method})
    assert parse_spec(mapping).as_given() == mapping


def test_a_key_that_is_not_supported_says_why_and_what_to_do():
    with pytest.raises(SpecError) as caught:
        parse_spec(make_mapping(torch_compile=True))
    [problem] = caught.value.problems
    assert "each would be compiled anew" in problem.message
    assert "use_liger_kernel: true" in problem.action
