# SPDX-License-Identifier: Apache-2.0
"""Facts on their fields: what is a path, what may change between starts, and what is a default."""

import pytest

from tadrib.training.config import DPOConfig, JobSpec, parse_spec
from tadrib.training.config.common import CommonConfig
from tadrib.training.config.registry import METHODS
from tadrib.training.config.types import Few, LocalPath, MayChange, marks
from tadrib.training.errors import SpecError

SECTIONS = [JobSpec, CommonConfig, *(method.config for method in METHODS.values())]
DERIVED = {"output_dir"}
"""In a spec it follows from `storage_path` and `name`."""


def takes_a_path(annotation) -> bool:
    """Whether the validators of `Location` are somewhere in a type; what the type names of pydantic share."""
    return "_named_on_disk" in repr(annotation)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_that_takes_a_path_says_who_reads_it(section):
    taking = {
        key
        for key, field in section.model_fields.items()
        if takes_a_path(field.annotation) or takes_a_path(field.metadata)
    }

    assert taking - DERIVED == marks(section, LocalPath).keys()


def test_the_paths_of_a_spec_are_those_that_are_set():
    spec = JobSpec(method="dpo", name="a", dataset_path="./rows.jsonl", ref_model_name="./reference")

    assert {key: (value, mark.holds, mark.reader) for key, value, mark in spec.paths()} == {
        "model_name": ("Qwen/Qwen2.5-7B", "model", "all"),
        "ref_model_name": ("./reference", "model", "workers"),
        "dataset_path": ("./rows.jsonl", "rows", "driver"),
        "storage_path": ("./runs", "runs", "all"),
    }


@pytest.mark.parametrize("config", SECTIONS[2:])
def test_a_method_with_another_default_keeps_the_marks_of_the_field(config):
    for kind in (LocalPath, MayChange):
        assert marks(config, kind).items() >= marks(CommonConfig, kind).items()


def test_what_decides_the_training_may_not_change():
    spec = JobSpec(method="sft", name="a", dataset_path="rows.jsonl")

    assert spec.changeable >= {"resources", "save_steps", "max_failures", "report_to"}
    assert spec.changeable.isdisjoint(
        {"method", "engine", "dataset_path", "model_name", "learning_rate", "seed", "max_steps", "strategy"}
    )


@pytest.mark.parametrize(
    ("spelt_out", "other"),
    [
        (
            {"max_tokens_per_batch": 2048, "per_device_train_batch_size": 4},
            {"max_tokens_per_batch": 2048, "per_device_train_batch_size": 8},
        ),
        ({"loss_type": "hinge", "simpo_gamma": 1.0}, {"loss_type": "hinge", "simpo_gamma": 0.5}),
        ({"output_dir": "./checkpoints"}, {"output_dir": "./elsewhere"}),
    ],
)
def test_a_default_that_is_spelt_out_passes_and_another_value_is_refused(spelt_out, other):
    base = {"method": "cpo", "name": "a", "dataset_path": "rows.jsonl"}

    assert (
        parse_spec(base | spelt_out).to_mapping()
        == parse_spec(base | {key: spelt_out[key] for key in list(spelt_out)[:1]}).to_mapping()
    )
    with pytest.raises(SpecError):
        parse_spec(base | other)


def test_rules_on_a_default_follow_the_field():
    class WithLargerBatches(DPOConfig):
        per_device_train_batch_size: Few = 8

    assert WithLargerBatches(max_tokens_per_batch=2048, per_device_train_batch_size=8)
    with pytest.raises(SpecError, match="both give the size of a micro-batch"):
        WithLargerBatches(max_tokens_per_batch=2048, per_device_train_batch_size=4)


def test_a_view_knows_the_defaults_of_all_its_sections():
    view = JobSpec(method="sft", name="a", dataset_path="rows.jsonl", seed=7, max_failures=3).view()

    assert view.is_default("max_failures")
    assert view.is_default("lora_target_modules")
    assert view.is_default("resources.gpus_per_worker")
    assert not view.is_default("seed")
    assert not view.is_default("name")
