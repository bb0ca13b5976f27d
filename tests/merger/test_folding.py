# SPDX-License-Identifier: Apache-2.0
"""Adapters folded into their base model: the logits are those of PEFT's model, for each kind of LoRA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tadrib.training.errors import SpecError
from tadrib.training.model_merger import create_model_merger
from tests.merger.models import TOKENS, VOCABULARY, logits_of, save_adapter, save_gpt2, save_model

PROJECTIONS = ["q_proj", "down_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": PROJECTIONS},
    "rslora": {"target_modules": PROJECTIONS, "use_rslora": True},
    "dora": {"target_modules": PROJECTIONS, "use_dora": True},
    "patterns": {
        "target_modules": PROJECTIONS,
        "rank_pattern": {"down_proj": 2},
        "alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 20},
    },
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "dora-embedding": {"target_modules": ["embed_tokens"], "use_dora": True},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "modules-to-save": {"target_modules": PROJECTIONS, "modules_to_save": ["lm_head", "norm"]},
    "saved-embedding": {"target_modules": PROJECTIONS, "modules_to_save": ["embed_tokens"]},
    "tokens": {"target_modules": PROJECTIONS, "trainable_token_indices": [3, 7, 39]},
    "biases": {"target_modules": PROJECTIONS, "bias": "all"},
    "lora-bias": {"target_modules": ["q_proj", "v_proj"], "lora_bias": True},
}
TIED: dict[str, tuple[dict[str, Any], bool]] = {
    **{kind: (KINDS[kind], kind in ("plain", "tokens")) for kind in ("plain", "embedding", "head", "tokens")},
    "saved-embedding": (KINDS["saved-embedding"], False),
    "tied-embedding": ({"target_modules": ["embed_tokens", "q_proj"], "ensure_weight_tying": True}, True),
    "tokens-and-head": ({"target_modules": ["lm_head"], "trainable_token_indices": [1, 2]}, False),
}
"""Kinds of adapter on a model whose head is its embedding, and whether it still is afterwards."""


def fold(adapter: str, target: Path, **options: Any) -> Path:
    return create_model_merger(adapter, target, **options).merge().path


def require_same(base: str, adapter: str, merged: Path) -> None:
    """The logits are those of the adapter model, which are not those of the base model."""
    expected = logits_of(base, adapter)
    torch.testing.assert_close(logits_of(merged), expected, rtol=1e-4, atol=1e-4)
    assert (logits_of(base) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_a_folded_adapter_computes_what_peft_does(kind, tmp_path):
    base = save_model(tmp_path / "base")
    adapter = save_adapter(base, tmp_path / "adapter", **KINDS[kind])
    require_same(base, adapter, fold(adapter, tmp_path / "merged"))


@pytest.mark.parametrize("kind", TIED)
def test_a_tied_head_stays_tied_only_while_it_has_what_the_embedding_has(kind, tmp_path):
    base = save_model(tmp_path / "base", tie_word_embeddings=True)
    settings, stays = TIED[kind]
    adapter = save_adapter(base, tmp_path / "adapter", **settings)
    merged = fold(adapter, tmp_path / "merged")
    require_same(base, adapter, merged)
    assert json.loads((merged / "config.json").read_text())["tie_word_embeddings"] == stays
    assert ("lm_head.weight" in load_file(merged / "model.safetensors")) != stays


@pytest.mark.parametrize("tied", [True, False])
def test_an_adapter_that_was_saved_with_a_larger_vocabulary(tied, tmp_path):
    """PEFT saves embedding and head whole with it; they are the merge's, and config.json counts their rows."""
    base = save_model(tmp_path / "base", tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(VOCABULARY + 4)
    adapter = str(tmp_path / "adapter")
    wrapped = get_peft_model(model, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")).eval()
    wrapped.save_pretrained(adapter)
    merged = fold(adapter, tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(logits_of(merged), wrapped(TOKENS).logits, rtol=1e-4, atol=1e-4)
    written = json.loads((merged / "config.json").read_text())
    assert (written["vocab_size"], written["tie_word_embeddings"]) == (VOCABULARY + 4, tied)


@pytest.mark.parametrize("kind", [{}, {"use_dora": True}])
def test_the_transposed_weights_of_gpt2(kind, tmp_path):
    base = save_gpt2(tmp_path / "base")
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["c_attn"], fan_in_fan_out=True, **kind)
    require_same(base, adapter, fold(adapter, tmp_path / "merged"))


def test_a_merge_is_in_the_dtype_of_the_base_model_or_the_one_asked_for(tmp_path):
    base = save_model(tmp_path / "base", dtype=torch.bfloat16)
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=PROJECTIONS)
    for name, options, dtype in (("a", {}, "bfloat16"), ("b", {"dtype": "float32"}, "float32")):
        merged = fold(adapter, tmp_path / name, **options)
        assert {str(each.dtype) for each in load_file(merged / "model.safetensors").values()} == {
            f"torch.{dtype}"
        }
        assert json.loads((merged / "config.json").read_text())["dtype"] == dtype


def test_the_share_of_a_small_change_that_survives_is_measured(tmp_path):
    """Deltas of 0.1 % of the weights, of which bfloat16 keeps a half, and float32 all; stochastic rounding keeps it on
    average, at the price of more noise. The five worst tensors are named."""
    base = save_model(tmp_path / "base", dtype=torch.bfloat16, hidden_size=64, intermediate_size=128)
    adapter = save_adapter(base, tmp_path / "adapter", scale=4e-4, target_modules="all-linear", r=8)
    state = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    save_file(
        {n: t if "lora_A" in n else t.sign() * 1e-3 for n, t in state.items()},
        tmp_path / "adapter" / "adapter_model.safetensors",
    )
    rounded = create_model_merger(adapter, tmp_path / "a").merge()
    written = json.loads((tmp_path / "a" / "merge.json").read_text())
    assert written["kept"]["kept"] == rounded.survival.kept < 0.8
    assert len(written["kept"]["worst"]) == 5
    assert "_proj.weight" in written["kept"]["worst"][0]["tensor"]
    [advice] = written["advice"]
    assert "--dtype float32" in advice
    assert "--rounding stochastic" in advice
    assert "serve the adapter" in advice
    whole = create_model_merger(adapter, tmp_path / "b", dtype="float32").merge()
    assert abs(whole.survival.kept - 1) < 1e-4
    assert list(whole.advice()) == []
    drawn = create_model_merger(adapter, tmp_path / "c", rounding="stochastic").merge()
    assert abs(drawn.survival.kept - 1) < 0.1
    assert drawn.survival.error > rounded.survival.error


def broken(adapter: str, **settings: Any) -> None:
    path = Path(adapter) / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 8}, "q_proj: it has lora_A of rank 4 and lora_B of rank 4, but adapter_config.json says 8"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: pissa, which is no fixed change"),
        ({"peft_type": "IA3"}, "peft_type: IA3"),
        ({"use_dora": True}, "use_dora in adapter_config.json and lora_magnitude_vector"),
    ],
)
def test_an_adapter_that_does_not_fit_its_settings_is_refused(settings, message, tmp_path):
    base = save_model(tmp_path / "base")
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    broken(adapter, **settings)
    with pytest.raises(SpecError, match=message):
        fold(adapter, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]


def test_an_adapter_on_another_base_is_refused(tmp_path):
    adapter = save_adapter(save_model(tmp_path / "base"), tmp_path / "adapter", target_modules=["q_proj"])
    other = save_model(tmp_path / "other", hidden_size=32)
    with pytest.raises(SpecError, match=f"belongs to the base model .*base, not to {other}"):
        fold(f"{other}+{adapter}", tmp_path / "merged")
    broken(adapter, base_model_name_or_path=other)
    with pytest.raises(SpecError, match=r"q_proj.weight as \[16, 16\], which in .*other is \[32, 32\]"):
        fold(adapter, tmp_path / "merged")
    shallow = save_model(tmp_path / "shallow", num_hidden_layers=1)
    broken(adapter, base_model_name_or_path=shallow)
    with pytest.raises(
        SpecError, match=r"changes model.layers.1.self_attn.q_proj.weight, which .* does not have"
    ):
        fold(adapter, tmp_path / "merged")


def test_a_full_model_is_no_adapter(tmp_path):
    with pytest.raises(SpecError, match="is a full model"):
        fold(save_model(tmp_path / "base"), tmp_path / "merged")
