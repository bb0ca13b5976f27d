# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, MambaConfig

from tests.engine.builders import VOCABULARY, build_groups, build_model
from training.engine import attention, policy
from training.engine.self_check import choose_path
from training.errors import TrainingError


def test_the_packed_path_is_taken_when_it_is_right():
    choice = choose_path(build_model("qwen2"), build_groups(2, 2))

    assert choice.path == "packed"
    assert choice.difference < 1e-5


def test_a_wrong_attention_function_is_refused_and_the_dense_mask_taken(monkeypatch):
    def blind(query, *_):
        return query.transpose(1, 2)

    monkeypatch.setattr(attention, "_by_segment", blind)

    choice = choose_path(build_model("qwen2"), build_groups(2, 2))

    assert choice.path == "dense"
    assert "differs by" in choice.rejected["packed"]


def test_a_recurrent_model_is_scored_as_separate_sequences():
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=32, state_size=8, num_hidden_layers=2)
    model = AutoModelForCausalLM.from_config(config)
    policy.install_scoring(model)

    assert choose_path(model, build_groups(2, 2)).path == "separate"


def test_soft_capped_attention_falls_back():
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=3.0,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    policy.install_scoring(model)

    choice = choose_path(model, build_groups(2, 2))

    assert choice.path != "packed"
    assert "packed" in choice.rejected


def test_a_head_that_no_path_reproduces_is_an_error(monkeypatch):
    model = build_model("qwen2")
    monkeypatch.setattr(policy, "token_log_probs", lambda hidden, weight, targets, **_: hidden.sum(-1))

    with pytest.raises(TrainingError, match="no path scores this model's tokens"):
        choose_path(model, build_groups(2, 2))
