# SPDX-License-Identifier: Apache-2.0
"""Model folders with a damaged file: refused at ``model_name``, naming the file, whatever a library raises for it."""

from __future__ import annotations

import json
import shutil
import struct

import pytest

from tests.fuzz.models import good_model
from training.config import SFTConfig
from training.errors import SpecError
from training.models import load_model
from training.tokenizers import load_tokenizer


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(good_model(), tmp_path / "model")


def config_of(folder) -> SFTConfig:
    return SFTConfig(model_name=str(folder), torch_dtype="float32", use_lora=False)


def test_the_model_without_damage_is_loaded(folder):
    assert load_tokenizer(config_of(folder)).eos_token
    assert load_model(config_of(folder)).config.hidden_size == 16


@pytest.mark.parametrize(
    ("key", "value"),
    [("hidden_act", 18446744073709551616), ("num_hidden_layers", True), ("model_type", ["llama"])],
)
@pytest.mark.parametrize("load", [load_tokenizer, load_model])
def test_a_configuration_of_the_wrong_type_names_config_json(folder, load, key, value):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {key: value}))
    with pytest.raises(SpecError, match=rf"model_name: folder {folder}: config\.json: "):
        load(config_of(folder))


def test_layers_that_no_model_has_are_refused_before_they_are_built(folder):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 10**12}))
    with pytest.raises(
        SpecError, match=r"config\.json: num_hidden_layers is 1,000,000,000,000, and no model"
    ):
        load_model(config_of(folder))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
def test_a_torn_file_is_named(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:300])
    with pytest.raises(SpecError, match=rf"model_name: folder {folder}: {name} is damaged: .*line"):
        load_tokenizer(config_of(folder))


def test_a_tokenizer_file_of_another_kind_is_refused(folder):
    (folder / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(SpecError, match=rf"model_name: folder {folder}: its tokenizer: "):
        load_tokenizer(config_of(folder))


def _overlapping(header: dict) -> None:
    first, second = sorted(key for key in header if key != "__metadata__")[:2]
    header[second]["data_offsets"] = header[first]["data_offsets"]


def _beyond_the_file(header: dict) -> None:
    first = min(key for key in header if key != "__metadata__")
    header[first]["data_offsets"] = [0, 2**60]


@pytest.mark.parametrize("lie", [_overlapping, _beyond_the_file, 2**40, 2**64 - 1, 0])
def test_weights_whose_header_lies_are_named(folder, lie):
    file = folder / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    if callable(lie):
        header = json.loads(content[8 : 8 + length])
        lie(header)
        text = json.dumps(header).encode()
        file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    else:
        file.write_bytes(struct.pack("<Q", lie) + content[8:])
    with pytest.raises(SpecError, match=rf"model_name: folder {folder}: model\.safetensors is damaged: "):
        load_model(config_of(folder))
