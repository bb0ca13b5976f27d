# SPDX-License-Identifier: Apache-2.0
"""Training that starts from another training's model: it is the reference, and ``final/`` means what was trained."""

from __future__ import annotations

import json
import math
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tadrib.training.config import METHODS
from tadrib.training.errors import SpecError
from tadrib.training.trainers import create_trainer
from tests.tiny import tiny_model, write_rows

SENTENCE = "عاصمة مصر القاهرة."


def config(folder: Path, method: str, **changes):
    return METHODS[method].config(
        **{
            "model_name": tiny_model(),
            "dataset_path": write_rows(folder / f"{method}.jsonl", f"{method}_train.jsonl", 12),
            "output_dir": str(folder / "out"),
            "instruction_template": "tokenizer",
            "torch_dtype": "float32",
            "learning_rate": 5e-3,
            "max_steps": 3,
            "per_device_train_batch_size": 4,
            "gradient_checkpointing": False,
            "warmup_ratio": 0.0,
            "logging_steps": 1,
            "save_strategy": "no",
            **changes,
        }
    )


def log_prob(model: torch.nn.Module) -> float:
    """Summed log-prob of the sentence, in nats, by the model's own forward."""
    ids = AutoTokenizer.from_pretrained(tiny_model())(SENTENCE, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model.eval()(input_ids=ids).logits[0, :-1].float()
    return logits.log_softmax(-1).gather(1, ids[0, 1:, None]).sum().item()


def opened(folder: str | Path, base: str | None = None) -> float:
    """The log-prob under a folder as plain peft or transformers opens it."""
    if not (Path(folder) / "adapter_config.json").is_file():
        return log_prob(AutoModelForCausalLM.from_pretrained(folder))
    named = json.loads((Path(folder) / "adapter_config.json").read_text())["base_model_name_or_path"]
    return log_prob(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base or named), folder))


@cache
def sft(lora: bool) -> str:
    """The folder of a model that SFT made of the tiny one, trained once a session."""
    folder = Path(mkdtemp(prefix="tadrib-test-sft-"))
    changes = {"lora_target_modules": ["q_proj", "down_proj"], "learning_rate": 2e-2 if lora else 4e-3}
    trainer = create_trainer("sft", config(folder, "sft", use_lora=lora, max_steps=15, **changes))
    trainer.train()
    return str(trainer.save_model())


def first_loss(trainer) -> float:
    return next(row["loss"] for row in trainer.trainer.state.log_history if "loss" in row)


def test_sft_has_moved_the_model():
    assert abs(opened(sft(True)) - opened(tiny_model())) > 0.3
    assert abs(opened(sft(False)) - opened(tiny_model())) > 0.3


STARTS = {"an adapter": True, "full weights": False}
SETTINGS = {
    "lora": {"reference": "adapter_off"},
    "lora, cache": {"reference": "cache"},
    "full": {"use_lora": False, "reference": "copy"},
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("way", ["model_name", "load_model"])
def test_training_starts_from_the_model_with_it_as_the_reference(tmp_path, start, settings, way):
    """The loss at step 1 is log 2 when policy and reference are the same, dropout or none."""
    source = sft(STARTS[start])
    named = {"model_name": source} if way == "model_name" else {}
    trainer = create_trainer("dpo", config(tmp_path, "dpo", **named, **SETTINGS[settings]))
    if way == "load_model":
        trainer.load_model(source)

    before = log_prob(trainer.get_model())
    trainer.train()
    after = log_prob(trainer.model)
    saved = trainer.save_model()

    assert before == pytest.approx(opened(source), abs=1e-3)
    assert first_loss(trainer) == pytest.approx(math.log(2), abs=1e-5)
    assert abs(after - before) > 0.05
    assert opened(saved) == pytest.approx(after, abs=1e-3)


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_a_quantized_base_keeps_the_adapter_as_it_is(tmp_path, bits):
    given = config(tmp_path, "dpo", model_name=sft(True), **{bits: True})
    trainer = create_trainer("dpo", given)
    trainer.get_trainer()
    quantized = create_trainer("sft", config(tmp_path, "sft", **{bits: True})).get_model(with_lora=False)

    expected = log_prob(PeftModel.from_pretrained(quantized, sft(True)))
    assert log_prob(trainer.model) == pytest.approx(expected, abs=1e-3)
    trainer.train()
    # LLM.int8 rounds differently in training and evaluation, from the base model too
    assert first_loss(trainer) == pytest.approx(math.log(2), abs=1e-5 if bits == "load_in_4bit" else 1e-2)

    fresh = create_trainer("sft", config(tmp_path, "sft", **{bits: True})).get_model(with_lora=False)
    reopened = PeftModel.from_pretrained(fresh, trainer.save_model())
    assert log_prob(reopened) == pytest.approx(log_prob(trainer.model), abs=1e-3)


def test_final_is_one_adapter_of_the_original_base(tmp_path):
    trainer = create_trainer("dpo", config(tmp_path, "dpo", model_name=sft(True), lora_r=4, lora_alpha=12))
    trainer.train()
    settings = json.loads((trainer.save_model() / "adapter_config.json").read_text())

    assert settings["base_model_name_or_path"] == tiny_model()
    assert settings["target_modules"] == ["down_proj", "q_proj", "v_proj"]
    assert (settings["r"], settings["lora_alpha"]) == (16 + 4, 3 * (16 + 4))
    state = load_file(tmp_path / "out" / "final" / "adapter_model.safetensors")
    assert len(state) == 2 * 3 * 4
    assert {tensor.shape["lora_B" in name] for name, tensor in state.items()} == {20}
    first = load_file(Path(sft(True)) / "adapter_model.safetensors")
    for name, tensor in first.items():
        kept = state[name][:, :16] if "lora_B" in name else state[name][:16] * 3 / 2
        torch.testing.assert_close(kept, tensor)


def test_three_trainings_in_a_row(tmp_path):
    """SFT, DPO on it, SimPO on that, each an adapter."""
    dpo = create_trainer(
        "dpo", config(tmp_path, "dpo", model_name=sft(True), output_dir=str(tmp_path / "dpo"))
    )
    dpo.train()
    simpo = create_trainer("simpo", config(tmp_path, "simpo", model_name=str(dpo.save_model())))

    assert log_prob(simpo.get_model()) == pytest.approx(log_prob(dpo.model), abs=1e-3)
    simpo.train()
    assert opened(simpo.save_model()) == pytest.approx(log_prob(simpo.model), abs=1e-3)


def test_a_checkpoint_is_a_model_and_resumes_to_the_same_weights(tmp_path):
    changes = {"model_name": sft(True), "save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    whole = create_trainer("dpo", config(tmp_path, "dpo", **changes))
    whole.train()
    checkpoint = tmp_path / "out" / "checkpoint-2"

    resumed = create_trainer("dpo", config(tmp_path, "dpo", **changes, output_dir=str(tmp_path / "again")))
    resumed.train(resume_from_checkpoint=str(checkpoint))

    expected = dict(whole.model.named_parameters())
    for name, weight in resumed.model.named_parameters():
        assert torch.equal(weight, expected[name]), name
    again = create_trainer("sft", config(tmp_path, "sft", model_name=str(checkpoint)))
    assert log_prob(again.get_model()) == pytest.approx(opened(checkpoint), abs=1e-3)


def test_the_best_checkpoint_is_what_is_kept_at_the_end(tmp_path):
    """At a learning rate that only harms, the first checkpoint is the best."""
    held_out = write_rows(tmp_path / "eval.jsonl", "dpo_heldout.jsonl", 8)
    changes = {"learning_rate": 1.0, "max_steps": 3, "max_grad_norm": 100.0, "load_best_model_at_end": True}
    often = {"eval_steps": 1, "save_steps": 1, "save_strategy": "steps", "evaluation_strategy": "steps"}
    given = config(tmp_path, "dpo", model_name=sft(True), eval_dataset_path=held_out, **changes, **often)
    trainer = create_trainer("dpo", given)
    trainer.train()

    best = trainer.trainer.state.best_model_checkpoint
    assert log_prob(trainer.model) == pytest.approx(opened(best), abs=1e-3)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_comparing_shows_what_training_started_from(tmp_path, start, lora):
    source = sft(STARTS[start])
    given = config(tmp_path, "dpo", model_name=source, use_lora=lora, learning_rate=0.05)
    trainer = create_trainer("dpo", given)
    start_says = trainer.predict("أين المسجد؟", max_length=8)
    trainer.train()
    saved = trainer.save_model()
    [row] = trainer.compare(["أين المسجد؟"], max_length=8)

    assert row["reference_model_response"] == start_says
    assert row["trained_model_response"] != start_says
    later = create_trainer("dpo", given)
    later.load_model(saved)
    assert later.compare(["أين المسجد؟"], max_length=8) == [row]


@pytest.mark.parametrize("start", STARTS)
def test_trl_starts_there_too(tmp_path, start):
    given = config(tmp_path, "dpo", model_name=sft(STARTS[start]))
    trainer = create_trainer("dpo", given, engine="trl")
    trainer.train()

    assert first_loss(trainer) == pytest.approx(math.log(2), abs=1e-4)
    assert opened(trainer.save_model()) == pytest.approx(log_prob(trainer.model), abs=1e-3)


def test_an_adapter_as_the_reference_model(tmp_path):
    """The policy starts from the same adapter, so step 1 is log 2; from the base it is not."""
    same = create_trainer("dpo", config(tmp_path, "dpo", model_name=sft(True), ref_model_name=sft(True)))
    other = create_trainer("dpo", config(tmp_path, "dpo", ref_model_name=sft(True)))
    for trainer in (same, other):
        trainer.train()

    assert first_loss(same) == pytest.approx(math.log(2), abs=1e-5)
    assert abs(first_loss(other) - math.log(2)) > 1e-2


def adapter(folder: Path, **settings) -> str:
    """An adapter of the tiny model as a user of peft makes one, all its weights random."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_model(), dtype=torch.float32)
    wanted = {"r": 8, "lora_alpha": 12, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    model = get_peft_model(base, LoraConfig(**{**wanted, **settings}))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad and "embed" not in name:
                weight.add_(torch.randn(weight.shape), alpha=0.05)
    model.save_pretrained(folder)
    return str(folder)


PLAIN = {
    "rsLoRA": {"use_rslora": True},
    "ranks of their own": {"rank_pattern": {"layers.1.self_attn.q_proj": 3}, "alpha_pattern": {"v_proj": 7}},
    "some layers": {"layers_to_transform": [0, 2]},
    "a pattern": {"target_modules": r".*layers\.[01]\..*(k_proj|up_proj)"},
}
SPECIAL = {
    "DoRA": ({"use_dora": True}, "use_dora: True"),
    "modules_to_save": ({"modules_to_save": ["norm"]}, r"modules_to_save: \['norm'\]"),
    "trained biases": ({"bias": "lora_only"}, "bias: lora_only"),
}


@pytest.mark.parametrize("settings", PLAIN.values(), ids=PLAIN)
def test_adapters_that_others_made_are_started_from(tmp_path, settings):
    source = adapter(tmp_path / "adapter", **settings)
    trainer = create_trainer("dpo", config(tmp_path, "dpo", model_name=source))
    assert log_prob(trainer.get_model()) == pytest.approx(opened(source), abs=1e-3)
    trainer.train()

    assert first_loss(trainer) == pytest.approx(math.log(2), abs=1e-5)
    assert opened(trainer.save_model()) == pytest.approx(log_prob(trainer.model), abs=1e-3)


@pytest.mark.parametrize(("settings", "said"), SPECIAL.values(), ids=SPECIAL)
def test_special_adapters_are_merged_or_refused_by_name(tmp_path, settings, said):
    source = adapter(tmp_path / "adapter", **settings)

    with pytest.raises(
        SpecError, match=rf"model_name: .*{said}.*cannot be kept underneath a new adapter.*use_lora: false"
    ):
        create_trainer("dpo", config(tmp_path, "dpo", model_name=source)).train()
    merged = create_trainer("dpo", config(tmp_path, "dpo", model_name=source, use_lora=False))
    assert log_prob(merged.get_model()) == pytest.approx(opened(source), abs=1e-3)


def test_an_adapter_of_the_tied_head_is_refused(tmp_path):
    source = adapter(tmp_path / "adapter", target_modules=["lm_head", "q_proj"])
    for lora in (True, False):
        with pytest.raises(SpecError, match=r"lm_head|the embedding or the head"):
            create_trainer("sft", config(tmp_path, "sft", model_name=source, use_lora=lora)).get_model()


def changed(folder: Path, change) -> str:
    shutil.copytree(sft(True), folder)
    state = load_file(folder / "adapter_model.safetensors")
    save_file(change(state), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return str(folder)


LAYER = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"
HARM = {
    "a layer absent": (
        lambda s: {k: v for k, v in s.items() if ".layers.1." not in k},
        r"lacks .*layers\.1\.",
    ),
    "a layer too many": (
        lambda s: s | {LAYER.replace("q_proj", "o_proj"): s[LAYER].clone()},
        "has .*o_proj.*which the model does not have",
    ),
    "another shape": (
        lambda s: s | {LAYER: torch.zeros(16, 4)},
        r"q_proj\.lora_A\.weight of \[16, 4\], not \[16, 128\]",
    ),
    "a NaN": (lambda s: s | {LAYER: s[LAYER] * float("nan")}, "NaN or infinite values in .*q_proj"),
    "nothing": (lambda s: {}, "lacks"),
}


@pytest.mark.parametrize(("change", "said"), HARM.values(), ids=HARM)
def test_adapters_whose_weights_are_not_theirs_are_refused_by_name(tmp_path, change, said):
    source = changed(tmp_path / "adapter", change)
    with pytest.raises(SpecError, match=said):
        create_trainer("sft", config(tmp_path, "sft", model_name=source)).get_model()


def test_a_torn_adapter_is_refused_in_a_sentence(tmp_path):
    source = changed(tmp_path / "adapter", lambda state: state)
    (Path(source) / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(SpecError, match="header too small"):
        create_trainer("sft", config(tmp_path, "sft", model_name=source)).get_model()


def test_what_cannot_be_loaded_is_said_at_once(tmp_path):
    trainer = create_trainer("sft", config(tmp_path, "sft"))
    with pytest.raises(SpecError, match="path: folder nope does not exist"):
        trainer.load_model("nope")
    with pytest.raises(SpecError, match="a does not exist"):
        trainer.load_model("a" * 256)
    assert trainer.model is None


def test_an_adapter_of_another_base_is_refused_and_a_copy_of_the_base_is_not(tmp_path):
    from tadrib.training.tiny.model import build_tiny_model

    other = str(build_tiny_model(tmp_path / "other", seed=1))
    with pytest.raises(SpecError, match=rf"belongs to the base model .*tiny, not to {other}"):
        create_trainer("sft", config(tmp_path, "sft", model_name=other)).load_model(sft(True))
    copy = str(shutil.copytree(tiny_model(), tmp_path / "copy"))
    trainer = create_trainer("sft", config(tmp_path, "sft", model_name=copy))
    trainer.load_model(sft(True))
    assert log_prob(trainer.model) == pytest.approx(opened(sft(True)), abs=1e-3)


def test_a_checkpoint_of_another_start_is_not_resumed(tmp_path):
    changes = {"save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    create_trainer("sft", config(tmp_path, "sft", **changes)).train()
    checkpoint = str(tmp_path / "out" / "checkpoint-1")

    with pytest.raises(SpecError, match=r"checkpoint-1: its adapter has other layers or ranks"):
        create_trainer("sft", config(tmp_path, "sft", model_name=sft(True))).train(checkpoint)
    with pytest.raises(SpecError, match="lacks model"):
        create_trainer("sft", config(tmp_path, "sft", use_lora=False)).train(checkpoint)
