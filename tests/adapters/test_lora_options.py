# SPDX-License-Identifier: Apache-2.0
"""Each kind of LoRA trains from the model it starts from, and what it saves is the same model in plain peft."""

from __future__ import annotations

import math

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from tadrib.training.adapters.lora import add_lora
from tadrib.training.config import SFTConfig
from tadrib.training.errors import SpecError
from tadrib.training.trainers import create_trainer
from tests.adapters.test_starting_points import config, first_loss, log_prob, opened, sft
from tests.architectures.families import build
from tests.tiny import tiny_model

OPTIONS = {
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "a bias": {"lora_bias": True},
    "ranks of their own": {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"layers.1.self_attn.v_proj": 64}},
    "gaussian": {"init_lora_weights": "gaussian"},
    "PiSSA": {"init_lora_weights": "pissa", "rank_pattern": {"q_proj": 4}},
    "fast PiSSA": {"init_lora_weights": "pissa_niter_4", "use_rslora": True},
    "OLoRA": {"init_lora_weights": "olora"},
    "LoftQ": {"init_lora_weights": "loftq", "load_in_4bit": True, "lora_dropout": 0.0},
    "DoRA in 4 bits": {"use_dora": True, "load_in_4bit": True},
    "a norm": {"modules_to_save": ["norm"]},
    "a tied head": {"modules_to_save": ["lm_head"]},
    "embedding and head in 4 bits": {"modules_to_save": ["embed_tokens", "lm_head"], "load_in_4bit": True},
}


def base(bits: bool = False, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """The tiny model as anybody loads it; in the 4 bits that a run has where ``bits``."""
    if not bits:
        return AutoModelForCausalLM.from_pretrained(tiny_model(), dtype=dtype)
    name = str(dtype).removeprefix("torch.")
    given = SFTConfig(model_name=tiny_model(), load_in_4bit=True, torch_dtype=name)
    return create_trainer("sft", given).get_model(with_lora=False)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_starts_from_the_model_trains_and_opens_in_plain_peft(tmp_path, option):
    changes = OPTIONS[option]
    trainer = create_trainer("dpo", config(tmp_path, "dpo", **changes))
    start = log_prob(trainer.get_model())
    trainer.train()
    after = log_prob(trainer.model)

    plain = base(bits=changes.get("load_in_4bit", False))
    if option == "LoftQ":  # closer to the model before quantization than the 4-bit model itself
        whole = opened(tiny_model())
        assert abs(start - whole) < abs(log_prob(plain) - whole) / 1.5
    else:
        assert start == pytest.approx(log_prob(plain), abs=1e-3)
    # log 2 means that the reference is what training started from, whatever dropout does to the adapters
    assert first_loss(trainer) == pytest.approx(math.log(2), abs=1e-5)
    assert abs(after - start) > 0.01
    assert log_prob(PeftModel.from_pretrained(plain, trainer.save_model())) == pytest.approx(after, abs=1e-3)


@pytest.mark.parametrize("option", ["PiSSA", "DoRA", "a bias", "a tied head", "rsLoRA"])
def test_a_run_of_an_option_resumes_to_the_same_bits(tmp_path, option):
    changes = OPTIONS[option] | {"save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    whole = create_trainer("sft", config(tmp_path, "sft", **changes))
    whole.train()
    resumed = create_trainer("sft", config(tmp_path, "sft", **changes, output_dir=str(tmp_path / "again")))
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))

    expected = dict(whole.model.named_parameters())
    for name, weight in resumed.model.named_parameters():
        assert torch.equal(weight, expected[name]), name


PARITY = {
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "PiSSA": {"init_lora_weights": "pissa"},
    "OLoRA": {"init_lora_weights": "olora"},
}


@pytest.mark.parametrize("option", PARITY)
def test_outputs_and_gradients_are_those_of_pefts_own_parameters(option):
    """PEFT takes PiSSA's and OLoRA's first product out of the base weights; here a frozen product is subtracted."""
    layers = ["q_proj", "v_proj", "down_proj"]
    ours = add_lora(base(), SFTConfig(lora_dropout=0.0, lora_target_modules=layers, **PARITY[option]))
    settings = {"r": 16, "lora_alpha": 32, "target_modules": layers, "task_type": "CAUSAL_LM"}
    theirs = get_peft_model(base(), LoraConfig(**settings, **PARITY[option]))
    named = dict(theirs.named_parameters())
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            if weight.requires_grad:
                if "init_lora_weights" not in PARITY[option]:
                    named[name].copy_(weight)  # random on both sides
                torch.testing.assert_close(weight, named[name])
                shift = torch.randn(weight.shape, generator=noise) * 0.05
                weight.add_(shift)
                named[name].add_(shift)
    ids = torch.randint(5, 200, (2, 24), generator=noise)
    logits = []
    for model in (ours, theirs):
        logits.append(model(input_ids=ids).logits)
        logits[-1].log_softmax(-1)[..., 7].sum().backward()

    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-4)
    for name, weight in ours.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(weight.grad, named[name].grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_start_from_the_weights_goes_with_an_adapter_below(tmp_path, start):
    changes = {"model_name": sft(True), "init_lora_weights": start, "save_strategy": "steps", "save_steps": 1}
    trainer = create_trainer("dpo", config(tmp_path, "dpo", **changes))
    assert log_prob(trainer.get_model()) == pytest.approx(opened(sft(True)), abs=1e-3)
    trainer.train()

    assert first_loss(trainer) == pytest.approx(math.log(2), abs=1e-5)
    assert opened(trainer.save_model()) == pytest.approx(log_prob(trainer.model), abs=1e-3)
    resumed = create_trainer("dpo", config(tmp_path, "dpo", **changes, output_dir=str(tmp_path / "again")))
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert log_prob(resumed.model) == log_prob(trainer.model)


@pytest.mark.parametrize("option", ["use_dora", "lora_bias"])
def test_options_that_cannot_be_joined_with_an_adapter_below_are_refused(tmp_path, option):
    trainer = create_trainer("dpo", config(tmp_path, "dpo", model_name=sft(True), **{option: True}))
    with pytest.raises(
        SpecError, match=rf"cannot be joined with a new one of {option}: true .*Remove {option}\."
    ):
        trainer.get_model()


@pytest.mark.parametrize("option", ["DoRA", "a bias", "PiSSA", "a norm"])
def test_a_trained_option_is_compared_with_what_it_started_from(tmp_path, option):
    given = config(tmp_path, "dpo", **OPTIONS[option], learning_rate=0.05)
    trainer = create_trainer("dpo", given)
    trainer.train()
    [expected] = trainer.compare(["أين المسجد؟"], max_length=8)
    later = create_trainer("dpo", given)
    later.load_model(trainer.save_model())

    assert expected["reference_model_response"] != expected["trained_model_response"]
    assert later.compare(["أين المسجد؟"], max_length=8) == [expected]
    if option in ("DoRA", "a bias", "a norm"):
        with pytest.raises(SpecError, match="cannot be kept underneath a new adapter"):
            later.train()


@pytest.mark.parametrize("option", ["DoRA", "PiSSA", "a tied head"])
def test_trl_trains_an_option_too(tmp_path, option):
    trainer = create_trainer(
        "dpo", config(tmp_path, "dpo", **OPTIONS[option], lora_dropout=0.0), engine="trl"
    )
    trainer.train()

    assert first_loss(trainer) == pytest.approx(math.log(2), abs=1e-4)
    assert opened(trainer.save_model()) == pytest.approx(log_prob(trainer.model), abs=1e-3)


@pytest.mark.parametrize("bits", [False, True], ids=["16 bits", "4 bits"])
def test_whole_modules_over_16_bits_are_trained_in_float32_and_compute_in_16(tmp_path, bits):
    changes = {"torch_dtype": "bfloat16", "modules_to_save": ["embed_tokens", "norm"], "load_in_4bit": bits}
    trainer = create_trainer("sft", config(tmp_path, "sft", **changes))
    trainer.get_trainer()  # whose start-up check also computes in float32
    model = trainer.get_model()
    kinds: set[torch.dtype] = set()
    for module in model.get_base_model().model.layers:
        module.register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    trainer.train()

    assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {torch.float32}
    assert kinds == {torch.bfloat16}
    reopened = PeftModel.from_pretrained(base(bits, torch.bfloat16), trainer.save_model())
    assert log_prob(reopened) == pytest.approx(log_prob(trainer.model), abs=0.05)


WRONG = {
    "a module that is not there": (
        {"modules_to_save": ["embed_token"]},
        r"modules_to_save: the model has no module embed_token\. Did you mean embed_tokens\?",
    ),
    "a module without weights": ({"modules_to_save": ["act_fn"]}, "act_fn has no weights to train"),
    "a pattern that matches nothing": (
        {"rank_pattern": {"down_proj": 4, "q_prj": 4}, "alpha_pattern": {"q_proj": 4}},
        r"rank_pattern\.down_proj: matches no layer that has an adapter(?s:.*)rank_pattern\.q_prj: .*mean q_proj\?",
    ),
    "a rank above the layer's": (
        {"init_lora_weights": "pissa", "lora_r": 100},
        r"lora_r: 100 for .*v_proj with init_lora_weights: pissa, but .* no more than 64 directions\. Set lora_r: 64",
    ),
}


@pytest.mark.parametrize(("changes", "said"), WRONG.values(), ids=WRONG)
def test_what_a_model_lacks_is_said_by_name(changes, said):
    with pytest.raises(SpecError, match=said):
        add_lora(base(), SFTConfig(**changes))


def test_quantized_modules_are_not_trained_whole():
    with pytest.raises(SpecError, match="up_proj is quantized, and quantized weights cannot be trained"):
        add_lora(base(bits=True), SFTConfig(modules_to_save=["up_proj"]))


def test_the_kind_of_layer_that_olora_cannot_decompose_is_named():
    with pytest.raises(SpecError, match=r"olora for .*c_attn, a Conv1D, .*Set init_lora_weights: pissa"):
        add_lora(build("GPT-2"), SFTConfig(init_lora_weights="olora", lora_r=4))
