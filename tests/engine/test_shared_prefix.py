# SPDX-License-Identifier: Apache-2.0
"""Packed groups give the log-probs and gradients of separate sequences, for every path and architecture."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tadrib.training.engine import attention
from tadrib.training.engine.collate import collate
from tadrib.training.engine.policy import set_scoring_path
from tadrib.training.engine.self_check import _separately
from tests.engine.builders import ARCHITECTURES, build_groups, build_model, gradient_of


def score(model, groups, path):
    """Log-probs [T] and the gradient of a random weighting of them."""
    set_scoring_path(model, path)
    model.zero_grad()
    log_probs = model(**collate(groups, path=path).model_inputs())
    weights = torch.linspace(-1, 1, len(log_probs))
    (log_probs * weights).sum().backward()
    return log_probs.detach(), gradient_of(model)


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("completions", [1, 2, 4, 8])
def test_packed_equals_separate(architecture, completions):
    model, groups = build_model(architecture), build_groups(5, completions)

    packed, packed_gradient = score(model, groups, "packed")
    separate, separate_gradient = score(model, groups, "separate")

    assert (packed - separate).abs().max() < 1e-5
    assert relative(packed_gradient, separate_gradient) < 1e-5


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "qwen3"])
def test_all_paths_equal_transformers_own_forward(architecture):
    model, groups = build_model(architecture), build_groups(4, 3)
    with torch.no_grad():
        expected = torch.cat(list(_separately(model, groups)))

    for path in ("packed", "dense", "separate"):
        log_probs, _ = score(model, groups, path)
        assert (log_probs - expected).abs().max() < 1e-5, path


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 4), completions=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_packed_equals_separate_for_any_groups(count, completions, seed):
    model, groups = build_model("qwen2"), build_groups(count, completions, seed)

    packed, packed_gradient = score(model, groups, "packed")
    separate, separate_gradient = score(model, groups, "separate")

    assert (packed - separate).abs().max() < 1e-5
    assert relative(packed_gradient, separate_gradient) < 1e-5


def test_a_planted_leak_between_documents_is_seen(monkeypatch):
    """The same comparison with segments glued together, as attention without isolation would have them."""
    model, groups = build_model("qwen2"), build_groups(5, 1)
    separate, separate_gradient = score(model, groups, "separate")

    def leaky(query, key, value, layout, scaling, *_):
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        ).transpose(1, 2)

    monkeypatch.setattr(attention, "_by_segment", leaky)
    packed, packed_gradient = score(model, groups, "packed")

    assert (packed - separate).abs().max() > 1e-2
    assert relative(packed_gradient, separate_gradient) > 1e-2


def test_gradient_checkpointing_changes_nothing():
    model, groups = build_model("qwen2"), build_groups(3, 3)
    expected, expected_gradient = score(model, groups, "packed")

    model.train()
    model.activation_checkpointing_enable({"use_reentrant": False})
    found, found_gradient = score(model, groups, "packed")

    assert torch.equal(found, expected)
    assert relative(found_gradient, expected_gradient) < 1e-6
