# SPDX-License-Identifier: Apache-2.0
"""`tadrib plan`: weights counted exactly, activations as autograd keeps them, and ways by which a run fits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tadrib.training.adapters.lora import add_lora
from tadrib.training.config import METHODS, SFTConfig
from tadrib.training.data.group import Completion, Group
from tadrib.training.engine.collate import collate
from tadrib.training.engine.policy import install_scoring, set_scoring_path
from tadrib.training.errors import SpecError
from tadrib.training.plan.parts import GIB, largest_micro_batch, parts_of, token_bytes
from tadrib.training.plan.shape import KINDS, Shape, read_shape

QWEN_7B = {
    "model_type": "qwen2",
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}
SMALL = {
    "vocab_size": 128,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
}


def test_weights_of_qwen_7b_and_of_its_adapters():
    shape = Shape.of(QWEN_7B)
    assert shape.parameters == 7_615_616_512
    assert shape.adapters(SFTConfig(lora_r=16)) == 5_046_272
    assert shape.adapters(SFTConfig(lora_r=16, lora_target_modules="all-linear")) == 40_370_176


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [False, True])
def test_weights_are_those_that_transformers_builds(kind, tied):
    settings = SMALL | {"model_type": kind, "tie_word_embeddings": tied, "head_dim": 32}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings))
    assert Shape.of(settings).parameters == sum(weight.numel() for weight in model.parameters())


KEPT = {
    "all weights": {"use_lora": False},
    "q and v": {"lora_dropout": 0.0},
    "q and v with dropout": {"lora_dropout": 0.1},
    "all layers": {"lora_dropout": 0.0, "lora_target_modules": "all-linear"},
    "all layers with dropout": {"lora_dropout": 0.1, "lora_target_modules": "all-linear"},
    "the MLP, by ranks": {
        "lora_dropout": 0.0,
        "lora_target_modules": ["up_proj"],
        "rank_pattern": {"up_proj": 64},
    },
}
TOKENS = 256


def kept(config: SFTConfig, layers: int) -> int:
    """Bytes that autograd keeps of a forward of one packed row, weights left out."""
    torch.manual_seed(0)
    shape = SMALL | {"num_hidden_layers": layers, "tie_word_embeddings": False}
    model = Qwen2ForCausalLM(Qwen2Config(**shape)).to(getattr(torch, config.torch_dtype))
    install_scoring(model)
    set_scoring_path(model, "packed")
    model = add_lora(model, config) if config.use_lora else model
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    found: dict[int, int] = {}
    alive = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    batch = collate([Group([1], [Completion([5] * (TOKENS - 1), "response", None)], 0)])
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.train()(**batch.model_inputs())
    return sum(found.values())


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("settings", KEPT)
def test_what_a_layer_keeps_of_a_token_is_what_autograd_keeps(settings, dtype):
    config = SFTConfig(torch_dtype=dtype, **KEPT[settings])
    shape, size = Shape.of(SMALL | {"model_type": "qwen2"}), 2 if dtype == "bfloat16" else 4
    copies = 2 * shape.adapters(config) / shape.layers if config.use_lora and size == 2 else 0

    measured = (kept(config, 3) - kept(config, 1)) / 2
    assert TOKENS * token_bytes(config, shape, size, on_gpu=False) + copies == pytest.approx(
        measured, rel=0.01
    )


@pytest.mark.parametrize(
    ("method", "settings", "tokens"),
    [
        ("sft", {"max_seq_length": 100, "per_device_train_batch_size": 3}, 300),
        ("dpo", {"max_length": 100, "max_prompt_length": 50, "per_device_train_batch_size": 3}, 3 * 199),
        ("kto", {"max_length": 100, "max_prompt_length": 50, "per_device_train_batch_size": 3}, 300),
        ("cpo", {"max_tokens_per_batch": 4096}, 4096),
    ],
)
def test_the_largest_micro_batch_computes_a_prompt_once(method, settings, tokens):
    assert largest_micro_batch(METHODS[method].config(**settings)) == tokens


@pytest.mark.parametrize(
    ("settings", "workers", "bytes_a_weight"),
    [
        ({}, 1, 16),
        ({}, 8, 20),  # and DDP's copy of the gradients
        ({"strategy": "zero2"}, 8, 2 + 14 / 8),
        ({"strategy": "zero3"}, 8, 16 / 8),
        ({"strategy": "zero3-offload"}, 8, 0),
        ({"optim": "paged_adamw_8bit"}, 1, 8 + 2 * (1 + 4 / 256)),
    ],
)
def test_bytes_of_all_weights_trained_by_strategy(settings, workers, bytes_a_weight):
    """The table of docs/strategies.md."""
    shape = Shape.of(QWEN_7B)
    parts = parts_of(SFTConfig(use_lora=False, **settings), shape, workers, on_gpu=True)
    states = {"weights", "optimizer", "gradients", "gradient buckets"}
    found = sum(part.bytes for part in parts if part.name in states and not part.host)
    assert found == pytest.approx(bytes_a_weight * shape.parameters)


def test_four_bits_are_those_of_linear_layers_alone():
    """6.53e9 weights of 0.516 bytes, and embedding, head, norms and biases of 2: 5.2 GiB."""
    [weights, *_] = parts_of(SFTConfig(load_in_4bit=True), Shape.of(QWEN_7B), 1, on_gpu=True)
    assert weights.bytes / GIB == pytest.approx(5.17, abs=0.01)


def planned(folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    (folder / "config.json").write_text(json.dumps(QWEN_7B))
    spec = folder / "spec.yaml"
    keys = {
        "method": "dpo",
        "name": "big",
        "model_name": str(folder),
        "dataset_path": "d.jsonl",
        "use_lora": False,
    }
    keys |= {"max_length": 32_768, "per_device_train_batch_size": 64, "resources": {"gpus_per_worker": 1}}
    spec.write_text(json.dumps(keys))
    command = [sys.executable, "-X", "importtime", "-m", "tadrib", "plan", str(spec), *overrides]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})


def test_a_run_that_cannot_fit_exits_with_4_and_each_of_three_ways_fits(tmp_path):
    done = planned(tmp_path, "--json")
    plan = json.loads(done.stdout)
    assert (done.returncode, plan["fits"], len(plan["changes"])) == (4, False, 3)
    assert not [
        line for line in done.stderr.splitlines() if line.endswith((" torch", " numpy", " transformers"))
    ]

    for change in plan["changes"]:
        assert change["cost"]
        mended = planned(
            tmp_path, "--json", *(f"{key}={json.dumps(value)}" for key, value in change["keys"].items())
        )
        again = json.loads(mended.stdout)
        assert (mended.returncode, again["fits"], again["bytes"]) == (0, True, change["bytes"])
    said = planned(tmp_path)
    assert "does not fit a GPU of 80.0 GiB" in said.stdout
    assert "7,615,616,512 weights" in said.stdout


def test_a_model_that_no_plan_knows_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(QWEN_7B | {"model_type": "mamba"}))
    with pytest.raises(SpecError, match=r"is of type mamba.*counts the weights of llama"):
        read_shape(SFTConfig(model_name=str(tmp_path)))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SpecError, match="has no usable 'hidden_size'"):
        read_shape(SFTConfig(model_name=str(tmp_path)))
