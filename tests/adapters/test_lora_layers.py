# SPDX-License-Identifier: Apache-2.0
"""``lora_target_modules``: which layers of a model get an adapter, by names, `all-linear` or a regular expression."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tadrib.training.adapters.lora import add_lora
from tadrib.training.config import SFTConfig
from tadrib.training.errors import SpecError
from tests.architectures.families import build
from tests.tiny import tiny_model

LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def adapted(layers, model=None) -> dict[str, int]:
    """The layers with an adapter, by the last part of their names, and how many of each."""
    model = model or AutoModelForCausalLM.from_pretrained(tiny_model())
    names = [
        name.removesuffix(".lora_A.default").rsplit(".", 1)[-1]
        for name, _ in add_lora(model, SFTConfig(lora_target_modules=layers)).named_modules()
        if name.endswith(".lora_A.default")
    ]
    return {name: names.count(name) for name in sorted(set(names))}


@pytest.mark.parametrize("layers", ["all-linear", "all_linear", ["all-linear"], ["q_proj", "all-linear"]])
def test_all_linear_is_every_linear_layer_but_the_head(layers):
    assert adapted(layers) == dict.fromkeys(sorted(LINEAR), 4)


def test_all_linear_leaves_out_a_head_of_its_own():
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = Qwen2Config(vocab_size=64, num_hidden_layers=1, tie_word_embeddings=False, **shape)
    assert adapted("all-linear", Qwen2ForCausalLM(config)) == dict.fromkeys(sorted(LINEAR), 1)


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        (r".*\.(q|v)_proj", {"q_proj": 4, "v_proj": 4}),
        (r"model\.layers\.[02]\..*_proj", dict.fromkeys(LINEAR, 2)),
        (["self_attn.q_proj", "model.layers.1.mlp.up_proj"], {"q_proj": 4, "up_proj": 1}),
    ],
)
def test_layers_are_chosen_by_a_regular_expression_or_by_longer_names(layers, found):
    assert adapted(layers) == found


@pytest.mark.parametrize(
    ("layers", "said", "advised"),
    [
        ("q_proj|v_proj", r"matches no full name, such as model\.layers\.0\.", r".*\.(q_proj|v_proj)"),
        (".*qq.*", "matches no full name", sorted(LINEAR)),
        (".*attn.*", "also matches model.layers.0.self_attn, which is not a linear layer", sorted(LINEAR)),
        (".*", "also matches the model itself", sorted(LINEAR)),
        (["all"], "the model has no module all. It has: ", [f"{name} (4)" for name in sorted(LINEAR)]),
        (["q_prj"], r"the model has no module q_prj. Did you mean q_proj\? It has: ", ["q_proj (4)"]),
        (["self_attn"], "self_attn is not a linear layer inside the model. It has: ", ["q_proj (4)"]),
    ],
)
def test_layers_that_cannot_be_adapted_are_refused_with_a_choice_that_can(layers, said, advised):
    with pytest.raises(SpecError, match=said) as caught:
        adapted(layers)
    assert (
        ", ".join(advised) in str(caught.value) if isinstance(advised, list) else advised in str(caught.value)
    )
    assert adapted([name.removesuffix(" (4)") for name in advised] if isinstance(advised, list) else advised)


@pytest.mark.parametrize(
    ("family", "found"),
    [("GPT-2", {"c_attn": 2}), ("Falcon (RoPE)", {"query_key_value": 2}), ("MPT", {"Wqkv": 2})],
)
def test_default_layers_are_those_usual_in_a_family_that_has_other_names(family, found, caplog):
    model = build(family)
    with caplog.at_level(logging.WARNING, logger="tadrib"):
        assert adapted(SFTConfig().lora_target_modules, model) == found
    assert (
        f"has no q_proj or v_proj; using PEFT's default for {model.config.model_type}, {min(found)}."
        in caplog.text
    )


def test_layers_that_keep_their_weights_the_other_way_round_learn_what_a_matrix_learns():
    """``Conv1D`` computes ``x W + b``: with LoRA it is ``x W + b + s x A' B'``, s = alpha / r = 2."""
    model = add_lora(build("GPT-2"), SFTConfig(lora_dropout=0.0))
    layer = model.get_submodule("base_model.model.transformer.h.0.attn.c_attn")
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.nn.init.normal_(up)
    inputs = torch.randn(3, 48)

    plain = layer.get_base_layer()
    expected = inputs @ plain.weight + plain.bias + 2 * inputs @ down.T @ up.T
    torch.testing.assert_close(layer(inputs), expected)
    assert model.peft_config["default"].fan_in_fan_out


def test_names_that_another_family_has_are_refused_with_all_names_that_there_are():
    with pytest.raises(
        SpecError, match=r"has no module k_proj\..* It has: c_attn \(2\), c_fc \(2\), c_proj \(4\)\."
    ):
        adapted(["k_proj"], build("GPT-2"))


def test_layers_whose_weights_a_model_reads_itself_are_refused_and_left_out_of_all_linear():
    said = r"out_proj is a layer whose weight the model reads directly, bypassing any adapter\. It has: in_proj \(2\)\."
    with pytest.raises(SpecError, match=said):
        adapted(["out_proj"], build("Mamba 2"))
    with pytest.raises(SpecError, match=r"has no module q_proj\. .*It has: in_proj \(2\)"):
        adapted(["q_proj", "v_proj"], build("Mamba 2"))
    assert adapted("all-linear", build("Mamba 2")) == {"in_proj": 2}
    assert adapted(["in_proj"], build("Mamba 2")) == {"in_proj": 2}


class Wrapped(torch.nn.Module):
    """A layer around a linear one, as in Gemma 4's encoders, and a layer of a class that PEFT does not know."""

    def __init__(self, inner: torch.nn.Linear) -> None:
        super().__init__()
        self.linear = inner


class Foreign(torch.nn.Module):
    in_features = out_features = 8


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (
            Wrapped(torch.nn.Linear(128, 128)),
            r"q_proj is not a linear layer inside the model\. Write q_proj\.linear\.",
        ),
        (Foreign(), r"PEFT: Target module Foreign\(\) is not supported\..* It has: down_proj \(4\)"),
    ],
)
def test_a_layer_that_peft_cannot_wrap_is_named(layer, said):
    model = AutoModelForCausalLM.from_pretrained(tiny_model())
    model.model.layers[1].self_attn.q_proj = layer
    with pytest.raises(SpecError, match=said):
        adapted(["q_proj"], model)


@pytest.mark.parametrize("layers", ["[q_proj", "*_proj"])
def test_a_text_that_is_no_regular_expression_is_refused(layers):
    with pytest.raises(SpecError, match=r"is no regular expression: .*: all-linear"):
        SFTConfig(lora_target_modules=layers)
