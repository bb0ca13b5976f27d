# SPDX-License-Identifier: Apache-2.0
"""Adapter folders: where their base model is found, what is said when it is not, and which tokenizer is theirs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tadrib.ray_jobs.disk import least_bytes
from tadrib.training.adapters.starting_point import starting_point
from tadrib.training.config import DPOConfig, SFTConfig
from tadrib.training.errors import SpecError
from tadrib.training.model.adapter_folder import adapter_of, require_models
from tadrib.training.model.source import ModelSource
from tadrib.training.model.tokenizer import load_tokenizer
from tests.tiny import tiny_model


def adapter(folder: Path, base: str | None = None, *, tokenizer: bool = True, **settings) -> Path:
    """An adapter of the tiny model whose adapter_config.json names ``base``."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model())
    get_peft_model(model, LoraConfig(target_modules=["q_proj"], **settings)).save_pretrained(folder)
    if tokenizer:
        AutoTokenizer.from_pretrained(tiny_model()).save_pretrained(folder)
    if base is not None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": base}))
    return folder


def base_of(folder: Path) -> str:
    found = adapter_of(ModelSource("model_name", str(folder)))
    assert found is not None
    return found.base.name


def test_the_base_is_where_the_adapter_says(tmp_path):
    assert base_of(adapter(tmp_path / "adapter")) == tiny_model()


def test_a_hub_name_stays_one(tmp_path):
    assert base_of(adapter(tmp_path / "adapter", "Qwen/Qwen2.5-7B")) == "Qwen/Qwen2.5-7B"


@pytest.mark.parametrize(
    "written", ["models/tiny", "/elsewhere/project/models/tiny"], ids=["a relative path", "a moved project"]
)
def test_a_base_beside_the_run_is_found_from_any_directory_and_said(tmp_path, caplog, monkeypatch, written):
    monkeypatch.chdir(tmp_path.parent)  # a checkout may have models of its own
    shutil.copytree(tiny_model(), tmp_path / "models" / "tiny")
    folder = adapter(tmp_path / "runs" / "sft" / "final", written)

    assert base_of(folder) == str(tmp_path / "models" / "tiny")
    assert (
        f"{written}, named in {folder}, does not exist; using {tmp_path}/models/tiny instead" in caplog.text
    )


def test_a_folder_of_the_same_last_name_alone_is_not_taken_for_the_base(tmp_path):
    shutil.copytree(tiny_model(), tmp_path / "tiny")
    with pytest.raises(SpecError, match=r"belongs to the base model /gone/models/tiny, which does not exist"):
        base_of(adapter(tmp_path / "adapter", "/gone/models/tiny"))


def test_every_key_whose_adapter_lacks_its_base_is_named_with_the_next_step(tmp_path):
    lost = str(adapter(tmp_path / "lost", "/gone/models/tiny"))
    with pytest.raises(
        SpecError, match=r"(?s)2 problems.*model_name: .*ref_model_name: .*adapter_config\.json"
    ):
        require_models(DPOConfig(model_name=lost, ref_model_name=lost))


def test_an_adapter_of_an_adapter_is_refused(tmp_path):
    first = adapter(tmp_path / "first")
    with pytest.raises(SpecError, match=r"belongs to .*first, which is an adapter too.*tadrib merge"):
        base_of(adapter(tmp_path / "second", str(first)))


def test_an_adapter_that_no_other_can_follow_is_refused_before_anything_is_loaded(tmp_path):
    folder = str(adapter(tmp_path / "dora", use_dora=True))
    with pytest.raises(SpecError, match=r"use_dora: True\) cannot be kept underneath a new adapter"):
        require_models(SFTConfig(model_name=folder))
    require_models(SFTConfig(model_name=folder, use_lora=False))


@pytest.mark.parametrize("text", ["{", "[]", "", pytest.param("[" * 100_000, id="deep"), "\xff"])
def test_a_damaged_adapter_config_is_refused_in_a_sentence(tmp_path, text):
    folder = adapter(tmp_path / "adapter")
    (folder / "adapter_config.json").write_text(text, encoding="latin-1")
    with pytest.raises(SpecError, match=r"model_name: .*adapter"):
        require_models(SFTConfig(model_name=str(folder)))


def test_pickled_adapters_are_not_read(tmp_path):
    folder = adapter(tmp_path / "adapter")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(SpecError, match=r"has no adapter_model\.safetensors"):
        require_models(SFTConfig(model_name=str(folder)))


@pytest.mark.parametrize(
    ("inner", "meant"),
    [
        (["final"], "final"),
        (["checkpoints/checkpoint-9", "checkpoints/checkpoint-10"], "checkpoints/checkpoint-10"),
    ],
    ids=["a finished run", "a run that has not finished"],
)
def test_the_folder_of_a_run_is_answered_with_the_model_in_it(tmp_path, inner, meant):
    for name in inner:
        adapter(tmp_path / "run" / name)
    with pytest.raises(
        SpecError, match=rf"contains a run, not a model\. Did you mean {tmp_path}/run/{meant}\?"
    ):
        require_models(SFTConfig(model_name=str(tmp_path / "run")))


def test_the_tokenizer_is_the_adapters_own_and_else_its_bases(tmp_path):
    own = adapter(tmp_path / "own")
    AutoTokenizer.from_pretrained(own, chat_template="an adapter's template").save_pretrained(own)
    without = adapter(tmp_path / "without", tokenizer=False)

    assert load_tokenizer(SFTConfig(model_name=str(own))).chat_template == "an adapter's template"
    expected = AutoTokenizer.from_pretrained(tiny_model())
    assert load_tokenizer(SFTConfig(model_name=str(without))).get_vocab() == expected.get_vocab()


def test_training_all_weights_needs_the_disk_space_of_the_base(tmp_path):
    folder = str(adapter(tmp_path / "adapter"))
    of_base = least_bytes(SFTConfig(model_name=tiny_model(), use_lora=False))
    assert least_bytes(SFTConfig(model_name=folder, use_lora=False)) == of_base


def test_an_adapter_on_the_hub_is_known_as_one(tmp_path, monkeypatch):
    """As it lies in the cache of `huggingface_hub`, without a network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0" * 40
    stored = tmp_path / "models--someone--an-adapter"
    adapter(stored / "snapshots" / commit)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text(commit)

    found = adapter_of(ModelSource("model_name", "someone/an-adapter"))
    assert found is not None
    assert found.base.name == tiny_model()
    assert adapter_of(ModelSource("model_name", "someone/else")) is None
    start = starting_point(SFTConfig(model_name="someone/an-adapter"))
    assert start == f"someone/an-adapter, an adapter of {tiny_model()}"


def test_the_starting_point_of_a_run_names_adapter_and_base(tmp_path):
    folder = str(adapter(tmp_path / "adapter"))
    assert starting_point(SFTConfig(model_name=folder)) == f"{folder}, an adapter of {tiny_model()}"
    assert starting_point(SFTConfig(model_name=tiny_model())) == tiny_model()
    assert starting_point(SFTConfig(model_name="someone/a-model")) == "someone/a-model"
    assert starting_point(SFTConfig(model_name=str(tmp_path / "none"))) == str(tmp_path / "none")
    lost = str(adapter(tmp_path / "lost", "/gone/models/tiny"))
    assert starting_point(SFTConfig(model_name=lost)) == lost
