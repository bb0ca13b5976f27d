# SPDX-License-Identifier: Apache-2.0
"""Recipes: mergekit's keys are read, and everything wrong with one is said at once."""

from __future__ import annotations

import pytest

from tadrib.training.errors import SpecError
from tadrib.training.model.merger.recipe_file import parse_recipe, read_recipe
from tadrib.training.model.merger.settings import Depth, Filtered, resolve

SLERP = """
slices:
  - sources:
      - model: a
        layer_range: [0, 5]
      - model: b
        layer_range: [0, 5]
merge_method: slerp
base_model: a
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 1]
    - value: 0.25
dtype: bfloat16
"""


def test_a_recipe_as_people_publish_it(tmp_path):
    """Of five layers, layer 1 is at depth 1/4, half-way from 0 to 0.5: 0.25; layer 3 is at 0.75."""
    (tmp_path / "merge.yaml").write_text(SLERP)
    recipe = read_recipe(tmp_path / "merge.yaml")
    assert [entry.model for entry in recipe.entries] == ["b"]
    depth = Depth(5)
    names = [f"model.layers.{layer}.self_attn.q_proj.weight" for layer in range(5)]
    assert [recipe.shared("t", name, depth.of(name)) for name in names] == [0, 0.25, 0.5, 0.75, 1]
    assert recipe.shared("t", "model.norm.weight", depth.of("model.norm.weight")) == 0.25
    assert recipe.written_in == "bfloat16"


def test_the_nearest_scope_that_has_a_value_for_a_tensor_counts():
    scopes = [{"weight": [Filtered(value=0.9, filter="mlp")]}, {"weight": 0.1}]
    assert resolve("weight", scopes, "layers.0.mlp.up_proj.weight", 0, 5) == 0.9
    assert resolve("weight", scopes, "layers.0.self_attn.q_proj.weight", 0, 5) == 0.1
    assert resolve("density", scopes, "layers.0.self_attn.q_proj.weight", 0, 5) == 5


PAIR = [{"model": "a", "parameters": {"weight": 1}}, {"model": "b", "parameters": {"weight": 1}}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merge_metod": "linear"}, "merge_metod: unknown key. Did you mean merge_method?"),
        ({"merge_method": "tie"}, "merge_method: must be one of .* Did you mean ties?"),
        ({"base_model": None, "merge_method": "ties"}, "base_model: required for ties, but not set."),
        ({"models": [{"modle": "a"}, *PAIR]}, "models.0.modle: unknown key. Did you mean model?"),
        (
            {"parameters": {"normalise": True}},
            "parameters.normalise: linear has no such parameter .*normalize?",
        ),
        ({"parameters": {"density": 0.5}}, "parameters.density: linear has no such parameter here."),
        ({"models": [{"model": "a"}]}, "parameters.weight: required for linear, but not set."),
        ({"merge_method": "ties", "parameters": {"density": 0}}, "parameters.density: must be above 0"),
        ({"merge_method": "slerp"}, "models: slerp takes 1 beside base_model, got 2."),
        ({"models": []}, "models: give either models or slices"),
        ({"dtype": "bf16"}, "dtype: must be one of .*Did you mean bfloat16?"),
        ({"slices": [{"sources": []}, {"sources": []}]}, "slices"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(changes, message):
    given = {"merge_method": "linear", "base_model": "base", "models": PAIR, **changes}
    with pytest.raises(SpecError, match=message):
        parse_recipe(given)


def test_all_problems_are_said_at_once():
    with pytest.raises(SpecError) as caught:
        parse_recipe(
            {
                "merge_method": "ties",
                "models": PAIR,
                "parameters": {"lamda": 1, "density": 2},
                "dtype": "bf16",
            }
        )
    assert [problem.where for problem in caught.value.problems] == [
        "dtype",
        "base_model",
        "parameters.lamda",
        "parameters.density",
    ]
