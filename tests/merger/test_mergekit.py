# SPDX-License-Identifier: Apache-2.0
"""Parity with mergekit 0.1.5 on tiny models, where it is installed; as LGPL-3.0 it is in no lock, only measured by."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from tadrib.training.model_merger import create_model_merger
from tests.merger.models import save_fine_tune, save_model

pytestmark = pytest.mark.skipif(
    find_spec("mergekit") is None,
    reason="not installed: pip install mergekit==0.1.5 in an environment of its own",
)
GRADIENT = [
    {"filter": "self_attn", "value": [0.0, 0.5, 1.0]},
    {"filter": "mlp", "value": [1, 0.2]},
    {"value": 0.4},
]
PAIR: dict[str, dict[str, Any]] = {"A": {"weight": 0.7, "density": 0.4}, "B": {"weight": 0.6, "density": 0.7}}
WEIGHTS = {name: {"weight": given["weight"]} for name, given in PAIR.items()}
RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "linear": ({"merge_method": "linear"}, WEIGHTS),
    "linear, not normalized": ({"merge_method": "linear", "parameters": {"normalize": False}}, WEIGHTS),
    "task arithmetic": ({"merge_method": "task_arithmetic", "parameters": {"lambda": 0.8}}, WEIGHTS),
    "negative weights": ({"merge_method": "task_arithmetic"}, {"A": {"weight": 1.0}, "B": {"weight": -0.5}}),
    "slerp": ({"merge_method": "slerp", "parameters": {"t": 0.3}}, {"A": {}}),
    "slerp, gradient": ({"merge_method": "slerp", "parameters": {"t": GRADIENT}}, {"A": {}}),
    "nuslerp of task vectors": ({"merge_method": "nuslerp"}, WEIGHTS),
    "ties": ({"merge_method": "ties", "parameters": {"normalize": True}}, PAIR),
    "ties, not normalized": (
        {"merge_method": "ties", "parameters": {"normalize": False, "lambda": 0.5}},
        PAIR,
    ),
    "dare at density 1": ({"merge_method": "dare_ties", "parameters": {"density": 1.0}}, WEIGHTS),
}
SHAPES: dict[str, dict[str, Any]] = {
    "small": {},
    "tied, deeper": {"num_hidden_layers": 5, "hidden_size": 24, "tie_word_embeddings": True},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", RECIPES)
def test_a_merge_equals_mergekits(name, shape, tmp_path):
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    # with biases other than zero: SLERP from a zero vector is linear here, and in mergekit it turns by 90 degrees
    base = save_fine_tune(save_model(tmp_path / "start", **SHAPES[shape]), tmp_path / "base", 0)
    # noise beyond the weights themselves, so that SLERP's angles are wide
    tuned = {
        letter: save_fine_tune(base, tmp_path / letter, seed, scale=1.0)
        for seed, letter in enumerate("AB", 1)
    }
    settings, given = RECIPES[name]
    recipe = {
        **settings,
        "models": [{"model": tuned[letter], "parameters": each} for letter, each in given.items()],
        "dtype": "float32",
    }
    if settings["merge_method"] != "linear":
        recipe["base_model"] = base
    if settings["merge_method"] == "slerp":
        recipe["models"].append({"model": base})
    theirs = tmp_path / "theirs"
    run_merge(MergeConfiguration.model_validate(recipe), str(theirs), MergeOptions(copy_tokenizer=False))
    ours = create_model_merger(recipe, tmp_path / "ours").merge().path
    expected = load_file(theirs / "model.safetensors")
    found = load_file(ours / "model.safetensors")
    assert found.keys() == expected.keys()
    for tensor, value in expected.items():
        assert_close(
            found[tensor], value, rtol=1e-6, atol=1e-6, msg=lambda text, tensor=tensor: f"{tensor}: {text}"
        )
