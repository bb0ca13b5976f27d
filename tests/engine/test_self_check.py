# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from transformers import AutoModelForCausalLM, MambaConfig

from tadrib.training.engine import attention, policy
from tadrib.training.engine.full_precision import in_float32
from tadrib.training.engine.self_check import choose_scoring_path
from tadrib.training.errors import TrainingError
from tests.architectures.families import build
from tests.architectures.measure import rows
from tests.engine.builders import VOCABULARY, build_groups, build_model


def test_the_packed_path_is_taken_when_it_is_right():
    choice = choose_scoring_path(build_model("qwen2"), build_groups(2, 2))

    assert choice.path == "packed"
    assert choice.difference < 1e-5


def test_a_wrong_attention_function_is_refused_and_the_dense_mask_taken(monkeypatch):
    def blind(query, *_):
        return query.transpose(1, 2)

    monkeypatch.setattr(attention, "_by_segment", blind)

    choice = choose_scoring_path(build_model("qwen2"), build_groups(2, 2))

    assert choice.path == "dense"
    assert "differs by" in choice.rejected["packed"]


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("DeepSeek V3.2", {"packed": "does not support packed rows, which have segments instead of a mask"}),
        ("Bloom", {"packed": "differs by ", "dense": "does not support a mask over all pairs of tokens"}),
    ],
)
def test_why_a_path_is_not_taken_is_said_in_words(name, reasons):
    model = build(name)
    policy.install_scoring(model)

    choice = choose_scoring_path(model, rows("sft", "long"))

    assert choice.rejected.keys() == reasons.keys()
    assert all(reason in choice.rejected[path] for path, reason in reasons.items())
    assert "Error" not in choice.slower


@pytest.mark.parametrize(("dtype", "times"), [(torch.float32, 1), (torch.bfloat16, 2)])
def test_sequences_are_scored_alone_once_more_only_where_16_bit_rounds_them(dtype, times):
    model, groups = build_model("qwen2").to(dtype), build_groups(2, 2)
    scored = []
    model.register_forward_hook(lambda *_: scored.append(1))

    assert choose_scoring_path(model, groups).path == "packed"

    alone = sum(len(group.completions) for group in groups)
    assert len(scored) == 2 * alone * times + 1  # each after one token that clears the state of dynamic RoPE


def test_a_recurrent_model_is_scored_as_separate_sequences():
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=32, state_size=8, num_hidden_layers=2)
    model = AutoModelForCausalLM.from_config(config)
    policy.install_scoring(model)

    assert choose_scoring_path(model, build_groups(2, 2)).path == "separate"


def test_a_keyword_that_packed_attention_does_not_know_is_refused_by_name():
    rows = torch.zeros(1, 2, 3, 4)

    with pytest.raises(ValueError, match="does not support position_bias"):
        attention.packed_attention(None, rows, rows, rows, None, layout=None, position_bias=rows)


def test_the_float32_yardstick_leaves_the_16_bit_weights_as_they_were():
    model = build_model("qwen2").bfloat16()
    before = {name: (p.data_ptr(), p.clone()) for name, p in model.named_parameters()}
    ids = torch.arange(10)[None]
    with torch.no_grad():
        rounded = model(input_ids=ids).logits
        with in_float32(model):
            found = model(input_ids=ids).logits
        expected = build_model("qwen2").bfloat16().float()(input_ids=ids).logits

    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-5
    assert torch.equal(model(input_ids=ids).logits, rounded)
    for name, parameter in model.named_parameters():
        assert parameter.data_ptr() == before[name][0]
        assert torch.equal(parameter, before[name][1])


@pytest.mark.parametrize("name", ["Qwen3", "Bloom"])  # Bloom knows no longest sequence
def test_a_head_that_no_path_reproduces_is_an_error(monkeypatch, name):
    model = build(name)
    policy.install_scoring(model)
    monkeypatch.setattr(policy, "token_log_probs", lambda hidden, weight, targets, **_: hidden.sum(-1))

    with pytest.raises(
        TrainingError, match="no scoring path reproduces transformers' log-probs for this model"
    ):
        choose_scoring_path(model, build_groups(2, 2))
