# SPDX-License-Identifier: Apache-2.0
"""Models that also take images or sound, trained on rows of text: the language model learns, the rest stays."""

from __future__ import annotations

import logging
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForMultimodalLM, AutoTokenizer, PreTrainedModel

from tadrib.training.adapters.lora import add_lora
from tadrib.training.config import METHODS, SFTConfig
from tadrib.training.engine.policy import install_scoring
from tadrib.training.errors import SpecError
from tadrib.training.model.load import load_model
from tadrib.training.trainers import create_trainer
from tests.architectures.families import MULTIMODAL, build
from tests.test_trajectories import fields
from tests.tiny import tiny_model
from tests.workers import run_workers

ENCODERS = re.compile(r"vision|visual|audio|projector|image")
RUNS = {
    "sft, LoRA": ("sft", {}),
    "sft, full": ("sft", {"use_lora": False}),
    "dpo, LoRA": ("dpo", {"reference": "adapter_off"}),
}
PROMPT = [7, 8, 9, 10]


def saved(folder: Path, name: str, vocabulary: int | None = None) -> str:
    """The family's model in a folder, with the tiny model's tokenizer where its vocabulary is given."""
    build(name, **({} if vocabulary is None else {"vocabulary": vocabulary})).save_pretrained(folder)
    if vocabulary is not None:
        AutoTokenizer.from_pretrained(tiny_model()).save_pretrained(folder)
    return str(folder)


def trained_weights(model: torch.nn.Module) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("name", MULTIMODAL)
def test_the_language_model_alone_is_trained(name, tmp_path, caplog):
    start = saved(tmp_path, name)
    encoders = {key for key, _ in build(name).named_parameters() if ENCODERS.search(key)}
    assert encoders

    with caplog.at_level(logging.WARNING, logger="tadrib"):
        full = load_model(SFTConfig(model_name=start, use_lora=False))
    assert trained_weights(full) == {key for key, _ in full.named_parameters()} - encoders
    assert "are not trained: rows of text train only the language model" in caplog.text
    for layers in (["q_proj", "v_proj"], "all-linear", r".*[qv]_proj"):
        config = SFTConfig(model_name=start, torch_dtype="float32", lora_target_modules=layers)
        adapted = trained_weights(add_lora(load_model(config), config))
        assert adapted
        assert not {key for key in adapted if ENCODERS.search(key)}


@pytest.mark.parametrize("name", MULTIMODAL)
def test_a_model_that_scores_still_answers(name, tmp_path):
    start = saved(tmp_path, name)
    prompt = {"input_ids": torch.tensor([PROMPT]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    asked = {**prompt, "max_new_tokens": 4, "do_sample": False}
    config = SFTConfig(model_name=start, torch_dtype="float32")
    model = load_model(config)
    install_scoring(model)

    found = add_lora(model, config).eval().generate(**asked)

    plain = AutoModelForMultimodalLM.from_pretrained(start, dtype=torch.float32)
    assert found.tolist() == plain.generate(**asked).tolist()


def test_layers_of_an_encoder_alone_are_refused(tmp_path):
    start = saved(tmp_path, "Gemma 3 (multimodal)")
    for layers in (r"model\.vision_tower\..*_proj", ["vision_tower.encoder.layers.0.self_attn.q_proj"]):
        config = SFTConfig(model_name=start, torch_dtype="float32", lora_target_modules=layers)
        with pytest.raises(
            SpecError, match=r"is in model\.vision_tower, which is not trained by rows of text\. It has: "
        ):
            add_lora(load_model(config), config)


@pytest.mark.skipif(find_spec("timm") is not None, reason="the package that an encoder needs is installed")
def test_a_package_that_an_encoder_needs_is_named(tmp_path):
    AutoConfig.for_model("gemma3n").save_pretrained(tmp_path)
    save_file({"none": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SpecError, match=r"requires the timm library.* Install it"):
        load_model(SFTConfig(model_name=str(tmp_path)))


def train_all(cases: dict[str, tuple[str, dict]]) -> dict[str, list]:
    found = {}
    for name, (method, given) in cases.items():
        trainer = create_trainer(method, METHODS[method].config(**given))
        trainer.train()
        trainer.save_model()
        losses = [row["loss"] for row in trainer.trainer.state.log_history if "loss" in row]
        found[name] = [losses, trainer.predict("ما عاصمة مصر؟", max_length=4)]
    return found


def cases_of(folder: Path, start: str, rows: int) -> dict[str, tuple[str, dict]]:
    found = {}
    for number, (name, (method, changes)) in enumerate(RUNS.items()):
        mine = folder / str(number)
        mine.mkdir(parents=True)
        given = {"model_name": start, "max_steps": 3, "per_device_train_batch_size": rows}
        more = {} if method == "sft" else {"max_length": 256}
        found[name] = (method, fields(mine, method, **given, **more, **changes))
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Gemma 3 with its vision tower: the same runs by one worker and by two with half the batch each, the folders of
    the latter, and the model that they started from."""
    folder = tmp_path_factory.mktemp("multimodal")
    start = saved(
        folder / "start", "Gemma 3 (multimodal)", vocabulary=len(AutoTokenizer.from_pretrained(tiny_model()))
    )
    by_one = cases_of(folder / "one", start, rows=4)
    by_two = cases_of(folder / "two", start, rows=2)
    alone = train_all(by_one)
    first, second = run_workers(2, train_all, by_two, folder=folder)
    assert first == second
    return (
        alone,
        first,
        {name: Path(given["output_dir"]) / "final" for name, (_, given) in by_two.items()},
        start,
    )


@pytest.mark.parametrize("name", RUNS)
def test_two_workers_train_as_one_does(runs, name):
    alone, together, _, _ = runs
    assert len(together[name][0]) == 3
    assert together[name][0] == pytest.approx(alone[name][0], abs=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_what_is_saved_is_the_whole_model_and_answers_as_the_trained_one(runs, name):
    _, together, finals, start = runs
    before, final = load_file(Path(start) / "model.safetensors"), finals[name]
    if "full" in name:
        after = load_file(final / "model.safetensors")
        changed = {key for key, weight in before.items() if not torch.equal(weight, after[key])}
        assert after.keys() == before.keys()
        model = AutoModelForMultimodalLM.from_pretrained(final)
    else:
        model, changed = adapted(start, final)
    assert changed
    assert not {key for key in changed if ENCODERS.search(key)}

    tokenizer = AutoTokenizer.from_pretrained(final)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "ما عاصمة مصر؟"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**asked, max_new_tokens=4, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True).strip() == together[name][1]


def adapted(start: str, adapter: Path) -> tuple[PeftModel, set[str]]:
    """The base with the adapter, by transformers and peft alone, and its weights that the adapter changes."""
    base: PreTrainedModel = AutoModelForMultimodalLM.from_pretrained(start)
    before = {name: weight.clone() for name, weight in base.named_parameters()}
    model = PeftModel.from_pretrained(base, adapter)
    merged = PeftModel.from_pretrained(
        AutoModelForMultimodalLM.from_pretrained(start), adapter
    ).merge_and_unload()
    return model, {
        name for name, weight in merged.named_parameters() if not torch.equal(weight, before[name])
    }
