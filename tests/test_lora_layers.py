# SPDX-License-Identifier: Apache-2.0
"""``lora_target_modules``: which layers of a model get an adapter, by names, `all-linear` or a regular expression."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tests.tiny import tiny_model
from training.adapters import add_lora
from training.config import SFTConfig
from training.errors import SpecError

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
        ("q_proj|v_proj", r"matches no whole name such as model\.layers\.0\.", r".*\.(q_proj|v_proj)"),
        (".*qq.*", "matches no whole name", sorted(LINEAR)),
        (".*attn.*", "also matches model.layers.0.self_attn, which is no linear layer", sorted(LINEAR)),
        (".*", "also matches the model itself", sorted(LINEAR)),
        (["all"], "the model has no module all. It has: ", sorted(LINEAR)),
    ],
)
def test_layers_that_cannot_be_adapted_are_refused_with_a_choice_that_can(layers, said, advised):
    with pytest.raises(SpecError, match=said) as caught:
        adapted(layers)
    assert (
        ", ".join(advised) in str(caught.value) if isinstance(advised, list) else advised in str(caught.value)
    )
    assert adapted(advised)


@pytest.mark.parametrize("layers", ["[q_proj", "*_proj"])
def test_a_text_that_is_no_regular_expression_is_refused(layers):
    with pytest.raises(SpecError, match=r"is no regular expression: .*: all-linear"):
        SFTConfig(lora_target_modules=layers)
