# SPDX-License-Identifier: Apache-2.0
"""Model folders whose weights are not those of their config.json are refused by the weights' names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from tadrib.training.config import SFTConfig
from tadrib.training.errors import SpecError
from tadrib.training.model.load import load_model
from tadrib.training.sft_trainer import create_sft_trainer
from tests.tiny import tiny_model

State = dict[str, torch.Tensor]
UP = "model.layers.1.mlp.up_proj.weight"


def changed(folder: Path, change: Callable[[State], State]) -> str:
    """A copy of the tiny model whose weights went through ``change``."""
    shutil.copytree(tiny_model(), folder)
    state = change(load_file(folder / "model.safetensors"))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def load(name: str, **changes) -> torch.nn.Module:
    return load_model(SFTConfig(model_name=name, torch_dtype="float32", **changes))


def without(prefix: str) -> Callable[[State], State]:
    return lambda state: {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}


def replaced(name: str, tensor: torch.Tensor) -> Callable[[State], State]:
    return lambda state: {**state, name: tensor}


def spoiled(value: float) -> Callable[[State], State]:
    def change(state: State) -> State:
        state[UP][3, 5] = value
        return state

    return change


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


CASES = {
    "a layer absent": (
        without("model.layers.1.mlp"),
        r"lacks model\.layers\.1\.mlp\.down_proj\.weight, .*gate_proj\.weight, .*up_proj\.weight; they would be "
        r"initialized at random",
    ),
    "no weight at all": (
        lambda state: {},
        r"lacks lm_head\.weight, model\.embed_tokens\.weight, .* and 48 more",
    ),
    "a weight the model has no place for": (
        replaced("v_head.summary.weight", torch.zeros(2)),
        r"has v_head\.summary\.weight, which the model does not have",
    ),
    "a wrapper's prefix": (prefixed("module."), r'its weight names begin with "module\."'),
    "a foreign prefix": (prefixed("student.net."), r'begin with "student\.net\."'),
    "a weight of another shape": (
        replaced(UP, torch.zeros(4, 128)),
        r"has model\.layers\.1\.mlp\.up_proj\.weight of \[4, 128\], not \[384, 128\]",
    ),
    "a NaN": (spoiled(float("nan")), r"NaN or infinite values in model\.layers\.1\.mlp\.up_proj\.weight"),
    "an infinity": (
        spoiled(float("-inf")),
        r"NaN or infinite values in model\.layers\.1\.mlp\.up_proj\.weight",
    ),
}


@pytest.mark.parametrize(("change", "said"), CASES.values(), ids=CASES)
def test_weights_that_are_not_the_models_are_refused_by_name(tmp_path, change, said):
    with pytest.raises(SpecError, match=rf"model_name: .*{said}"):
        load(changed(tmp_path / "model", change))


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
@pytest.mark.parametrize("case", ["a layer absent", "a weight of another shape"])
def test_they_are_refused_when_quantized_as_well(tmp_path, case, bits):
    change, said = CASES[case]
    with pytest.raises(SpecError, match=said):
        load(changed(tmp_path / "model", change), **{bits: True})


def test_all_problems_are_told_at_once(tmp_path):
    def change(state: State) -> State:
        return replaced("extra", torch.zeros(1))(replaced(UP, torch.zeros(2))(without("model.norm")(state)))

    with pytest.raises(SpecError, match=r"(?s)3 problems.*model\.norm\.weight.*extra.*up_proj"):
        load(changed(tmp_path / "model", change))


def test_tied_weights_and_old_buffers_may_be_there_or_not(tmp_path):
    """A tied head saved as well, and the rotary buffer that Llama files of 2023 hold."""

    def change(state: State) -> State:
        head = state["model.embed_tokens.weight"].clone()
        return {
            **state,
            "lm_head.weight": head,
            "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(16),
        }

    found, expected = load(changed(tmp_path / "model", change)), load(tiny_model())

    for name, weight in expected.named_parameters():
        torch.testing.assert_close(found.get_parameter(name), weight, msg=name)


def test_an_untied_head_that_is_absent_is_refused(tmp_path):
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=16, **shape)).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file(without("lm_head")(load_file(file)), file, metadata={"format": "pt"})

    with pytest.raises(SpecError, match=r"lacks lm_head\.weight"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("kept", "said"),
    [(0, "header too small"), (1000, "header"), (20_000, "")],
    ids=["an empty file", "a torn header", "torn weights"],
)
def test_a_torn_file_is_refused_in_a_sentence(tmp_path, kept, said):
    folder = changed(tmp_path / "model", lambda state: state)
    file = Path(folder) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])

    with pytest.raises(SpecError, match=rf"folder .*model: .*{said}.*all complete"):
        load(folder)


def test_a_configuration_with_values_of_the_wrong_type_is_refused_in_a_sentence(tmp_path):
    folder = changed(tmp_path / "model", lambda state: state)
    file = Path(folder) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hidden_size": "128"}))

    with pytest.raises(SpecError, match="hidden_size"):
        load(folder)


def test_the_key_that_named_the_model_is_the_one_reported(tmp_path):
    folder = changed(tmp_path / "model", without("model.norm"))

    with pytest.raises(SpecError, match=r"path: .*lacks model\.norm\.weight"):
        create_sft_trainer(SFTConfig(model_name=tiny_model())).load_model(folder)
