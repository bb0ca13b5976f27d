# SPDX-License-Identifier: Apache-2.0
"""The CUDA path: FlashAttention with different query and key lengths, in bfloat16."""

import pytest
import torch

from tadrib.training.engine.attention import packed_attention
from tadrib.training.engine.collate import collate
from tadrib.training.engine.layout import build_layout, dense_mask
from tadrib.training.engine.policy import set_scoring_path
from tadrib.training.engine.scorer import token_log_probs
from tadrib.training.engine.self_check import choose_scoring_path
from tests.engine.builders import build_groups, build_model, gradient_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
GROUPS = [(7, [5, 3, 9]), (33, [1, 64]), (1, [2])]


def test_causality_is_aligned_to_the_last_key_when_there_are_more_keys_than_queries():
    """Packed varlen attention against the dense mask of the same rule: a top-left alignment would hide the prompt."""
    tokens = sum(prompt + sum(answers) for prompt, answers in GROUPS)
    generator = torch.Generator("cuda").manual_seed(0)
    query = torch.randn(1, 4, tokens, 64, device="cuda", dtype=torch.bfloat16, generator=generator)
    key, value = (
        torch.randn(1, 2, tokens, 64, device="cuda", dtype=torch.bfloat16, generator=generator) for _ in "kv"
    )
    layout = build_layout(GROUPS).to(torch.device("cuda"))

    found, _ = packed_attention(torch.nn.Module(), query, key, value, None, layout=layout)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query.float(),
        key.float().repeat_interleave(2, 1),
        value.float().repeat_interleave(2, 1),
        attn_mask=dense_mask(GROUPS).cuda(),
    ).transpose(1, 2)

    torch.testing.assert_close(found.float(), expected, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_equals_separate_in_bfloat16(checkpointing):
    model = build_model("qwen3").to("cuda", torch.bfloat16).train()
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    groups = build_groups(6, 4)
    results = {}
    for path in ("packed", "separate"):
        set_scoring_path(model, path)
        model.zero_grad()
        log_probs = model(**collate(groups, path=path).to(model.device).model_inputs())
        log_probs.mean().backward()
        results[path] = log_probs.detach(), gradient_of(model).float()

    assert (results["packed"][0] - results["separate"][0]).abs().mean() < 5e-2
    difference = results["packed"][1] - results["separate"][1]
    assert difference.norm() / results["separate"][1].norm() < 5e-2


def test_the_self_check_takes_the_packed_path():
    model = build_model("qwen3").to("cuda", torch.bfloat16)

    assert choose_scoring_path(model, build_groups(2, 3)).path == "packed"


def test_scoring_holds_less_memory_than_the_logits_would_take():
    head = torch.nn.Linear(48, 150_000, bias=False, device="cuda", dtype=torch.bfloat16)
    hidden = torch.randn(8192, 48, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    token_log_probs(
        hidden, head.weight.detach(), torch.zeros(8192, dtype=torch.long, device="cuda")
    ).sum().backward()

    assert torch.cuda.max_memory_allocated() - before < 8192 * 150_000 * 2
