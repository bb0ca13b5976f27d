# SPDX-License-Identifier: Apache-2.0
"""Merges from folder to folder: what is written, what is carried, and what is refused."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tadrib.training.errors import SpecError, TadribError
from tadrib.training.files.manifest import Manifest
from tadrib.training.model_merger import create_model_merger
from tests.merger.models import logits_of, save_adapter, save_fine_tune, save_model
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    """A base model and two fine-tunes of it."""
    folder = tmp_path_factory.mktemp("models")
    base = save_model(folder / "base")
    return {"base": base} | {letter: save_fine_tune(base, folder / letter, ord(letter)) for letter in "AB"}


def recipe(models: dict[str, str], method: str = "linear", **changes: Any) -> dict[str, Any]:
    parts = [{"model": models[letter], "parameters": {"weight": 1}} for letter in "AB"]
    base = {} if method == "linear" else {"base_model": models["base"]}
    return {"merge_method": method, "models": parts, **base, **changes}


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    return {
        name: each for file in Path(folder).glob("*.safetensors") for name, each in load_file(file).items()
    }


def test_a_linear_merge_is_the_mean_and_complete(models, tmp_path):
    merged = create_model_merger(recipe(models), tmp_path / "merged").merge().path
    a, b, found = (weights(each) for each in (models["A"], models["B"], merged))
    assert found.keys() == a.keys()
    for name in a:
        torch.testing.assert_close(found[name], (a[name] + b[name]) / 2)
    manifest = Manifest.read(merged)
    assert manifest is not None and manifest.damage(merged) is None  # noqa: PT018
    assert {"config.json", "generation_config.json", "merge.json", "model.safetensors"} <= set(manifest.files)


def test_shards_hold_the_same_and_load_in_transformers(models, tmp_path):
    whole = create_model_merger(recipe(models), tmp_path / "whole").merge().path
    parts = create_model_merger(recipe(models), tmp_path / "parts", shard_bytes=4_000).merge().path
    files = sorted(file.name for file in parts.glob("*.safetensors"))
    assert len(files) > 3
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert all(file.stat().st_size < 4_000 + 2_000 for file in parts.glob("*.safetensors"))  # and the header
    one, other = weights(whole), weights(parts)
    assert all(torch.equal(one[name], other[name]) for name in one | other)
    assert torch.equal(logits_of(whole), logits_of(parts))
    again = (
        create_model_merger(recipe({**models, "A": str(parts), "B": str(parts)}), tmp_path / "again")
        .merge()
        .path
    )
    assert torch.equal(logits_of(again), logits_of(whole))


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare_linear", "dare_ties"])
def test_one_fine_tune_merged_with_all_of_its_change_is_itself(method, models, tmp_path):
    one = recipe(models, method)
    one["models"] = one["models"][:1]
    outcome = create_model_merger(one, tmp_path / "merged").merge()
    for name, value in weights(models["A"]).items():
        torch.testing.assert_close(weights(outcome.path)[name], value)
    assert outcome.survival.kept == pytest.approx(1, abs=1e-4)


def test_dare_has_the_same_result_for_the_same_seed(models, tmp_path):
    sparse = recipe(models, "dare_linear", parameters={"density": 0.3})
    found = [
        weights(create_model_merger(sparse, tmp_path / str(n), seed=seed).merge().path)
        for n, seed in enumerate((0, 0, 1))
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not torch.equal(found[0]["lm_head.weight"], found[2]["lm_head.weight"])


def test_adapters_are_merged_as_the_models_that_they_make(models, tmp_path):
    for seed, name in enumerate(("x", "y")):
        save_adapter(models["base"], tmp_path / name, seed, target_modules=["q_proj", "down_proj"])
    both = {"A": str(tmp_path / "x"), "B": f"{models['base']}+{tmp_path / 'y'}"}
    merged = create_model_merger(recipe({**models, **both}), tmp_path / "merged").merge().path
    apart = [
        create_model_merger(tmp_path / name, tmp_path / f"{name}-folded").merge().path for name in ("x", "y")
    ]
    for name, value in weights(merged).items():
        torch.testing.assert_close(value, sum(weights(each)[name] for each in apart) / 2)


@pytest.mark.parametrize(("method", "ranks"), [("cat", (4, 2)), ("svd", (4, 2)), ("svd", (3, 2))])
def test_adapters_are_merged_exactly_or_as_closely_as_a_rank_allows(method, ranks, models, tmp_path):
    """``cat``, and ``svd`` of the rank that the sum has, give the weighted sum of the two changes: with the weights 1
    and -0.5 that of each folded model from the base. With less rank the share of the squared norm says what is lost."""
    for seed, (name, rank) in enumerate(zip("xy", ranks, strict=True)):
        save_adapter(
            models["base"], tmp_path / name, seed, target_modules=["q_proj"], r=rank, use_rslora=name == "y"
        )
    parts = [
        {"model": str(tmp_path / name), "parameters": {"weight": w}} for name, w in (("x", 1.0), ("y", -0.5))
    ]
    given = {
        "merge_method": method,
        "models": parts,
        **({"parameters": {"rank": 6}} if method == "svd" else {}),
    }
    outcome = create_model_merger(given, tmp_path / "joined").merge()
    assert outcome.share == pytest.approx(1)
    folded = weights(create_model_merger(tmp_path / "joined", tmp_path / "folded").merge().path)
    x, y = (weights(create_model_merger(tmp_path / n, tmp_path / f"{n}-folded").merge().path) for n in "xy")
    base = weights(models["base"])
    for name, value in folded.items():
        expected = base[name] + (x[name] - base[name]) - 0.5 * (y[name] - base[name])
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    assert (
        logits_of(models["base"], str(tmp_path / "joined")) - logits_of(tmp_path / "folded")
    ).abs().max() < 1e-3


def test_svd_of_less_rank_says_what_is_lost(models, tmp_path):
    save_adapter(models["base"], tmp_path / "x", target_modules=["q_proj"], r=4)
    parts = [{"model": str(tmp_path / "x")}, {"model": str(tmp_path / "x")}]
    given = {"merge_method": "svd", "models": parts, "parameters": {"rank": 1}}
    outcome = create_model_merger(given, tmp_path / "joined").merge()
    assert 0.2 < outcome.share < 0.95
    assert json.loads((tmp_path / "joined" / "merge.json").read_text())["norm_share"] == outcome.share


def test_tokenizer_and_chat_template_are_carried_and_answers_are_those_of_the_adapter(tmp_path):
    """Also the stop tokens: of the adapter's folder, where it has its own, and else of the base model's."""
    base = tiny_model()
    adapter = save_adapter(base, tmp_path / "adapter", scale=0.02, target_modules="all-linear")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    tokenizer.save_pretrained(adapter)
    stops = json.loads((Path(base) / "generation_config.json").read_text()) | {"eos_token_id": [0, 2]}
    (Path(adapter) / "generation_config.json").write_text(json.dumps(stops))
    merged = create_model_merger(adapter, tmp_path / "merged").merge().path
    carried = AutoTokenizer.from_pretrained(merged)
    assert carried.apply_chat_template([{"role": "user", "content": "سلام"}], tokenize=False) == "[سلام]"
    model = AutoModelForCausalLM.from_pretrained(merged)
    assert model.generation_config.eos_token_id == [0, 2]
    from peft import PeftModel

    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    prompt = carried("كيف حالك؟", return_tensors="pt")
    options = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": [0, 2], "pad_token_id": 0}
    assert torch.equal(model.generate(**prompt, **options), tuned.generate(**prompt, **options))


def changed(models: dict[str, str], tmp_path: Path, **settings: Any) -> dict[str, str]:
    """``models`` with B in its place another model."""
    return {**models, "B": save_model(tmp_path / "other", **settings)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"vocab_size": 48},
            r"embed_tokens.weight of \[48, 16\], and .*A \[40, 16\].*Their vocabularies differ",
        ),
        ({"num_hidden_layers": 3}, r"A: lacks model.layers.2.*other has"),
        (
            {"tie_word_embeddings": True},
            "the head of .*other is its embedding, and that of .*A is a tensor of its own",
        ),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
            "rope_theta is 500000.0, not 10000.0",
        ),
    ],
)
def test_models_that_do_not_go_together_are_refused(settings, message, models, tmp_path):
    with pytest.raises(SpecError, match=message):
        create_model_merger(recipe(changed(models, tmp_path, **settings)), tmp_path / "merged").merge()
    assert not (tmp_path / "merged").exists()


def test_tokenizers_that_differ_are_refused(tmp_path):
    for name, swapped in (("A", False), ("B", True)):
        save_model(tmp_path / name)
        content = json.loads((Path(tiny_model()) / "tokenizer.json").read_text(encoding="utf-8"))
        vocabulary = content["model"]["vocab"]
        if swapped:
            vocabulary["ab"], vocabulary["!"] = vocabulary.get("ab", 99_999), 99_998
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    pair = {name: str(tmp_path / name) for name in "AB"}
    with pytest.raises(SpecError, match=r"another tokenizer than .*A: \"?'?!'?\"? is token 99998, not"):
        create_model_merger(recipe(pair), tmp_path / "merged").merge()


def test_nan_and_opposite_directions_are_refused_by_tensor(models, tmp_path):
    for name, value in (("nan", float("nan")), ("opposite", None)):
        save_model(tmp_path / name)
        state = weights(models["base"])
        state["model.norm.weight"] *= -1.0 if value is None else value
        save_file(state, tmp_path / name / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SpecError, match=r"nan: has NaN or infinite values in model\.norm\.weight"):
        create_model_merger(recipe({**models, "B": str(tmp_path / "nan")}), tmp_path / "merged").merge()
    slerp = {
        "merge_method": "slerp",
        "base_model": models["base"],
        "models": [{"model": str(tmp_path / "opposite")}],
        "parameters": {"t": 0.5},
    }
    with pytest.raises(
        SpecError, match=r"model.norm.weight: the two have opposite directions \(cosine -1.00000\)"
    ):
        create_model_merger(slerp, tmp_path / "merged").merge()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nan", "opposite"]


def test_missing_and_damaged_shards_are_refused_by_name(models, tmp_path):
    parts = create_model_merger(recipe(models), tmp_path / "parts", shard_bytes=4_000).merge().path
    shard = sorted(parts.glob("*.safetensors"))[1]
    content = shard.read_bytes()
    pair = {**models, "B": str(parts)}
    shard.write_bytes(content[:-10])
    with pytest.raises(SpecError, match="parts"):
        create_model_merger(recipe(pair), tmp_path / "merged").merge()
    shard.unlink()
    with pytest.raises(SpecError, match=f"the shard {shard.name}, one of .* is missing"):
        create_model_merger(recipe(pair), tmp_path / "merged").merge()
    assert not (tmp_path / "merged").exists()


def test_an_error_while_writing_leaves_nothing_behind(models, tmp_path):
    """A limit on the size of files stands for a full disk: the error comes in the middle of the weights."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
    try:
        with pytest.raises((OSError, TadribError)):
            create_model_merger(recipe(models), tmp_path / "merged").merge()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(models, tmp_path):
    with pytest.raises(TadribError, match=r"exists\. Choose another folder with --output"):
        create_model_merger(recipe(models), tmp_path).merge()
