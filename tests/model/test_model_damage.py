# SPDX-License-Identifier: Apache-2.0
"""Model folders with a damaged file: refused at ``model_name``, naming the file, whatever a library raises for it."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tadrib.training.config import SFTConfig
from tadrib.training.errors import SpecError
from tadrib.training.model.load import load_model
from tadrib.training.model.tokenizer import load_tokenizer
from tests.fuzz.models import good_model


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
    with pytest.raises(SpecError, match=rf"model_name: folder {folder}: {name} is corrupt: .*line"):
        load_tokenizer(config_of(folder))


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "config.json", "model.safetensors", "chat_template.jinja"]
)
@pytest.mark.parametrize(
    ("replace", "kind"),
    [(os.mkfifo, "a pipe"), (lambda path: path.symlink_to("/dev/zero"), "a device")],
    ids=["pipe", "device"],
)
@pytest.mark.parametrize("load", [load_tokenizer, load_model])
def test_what_is_no_file_is_named_and_never_read(folder, name, load, replace, kind):
    (folder / name).unlink(missing_ok=True)
    replace(folder / name)
    with pytest.raises(
        SpecError, match=rf"model_name: folder {folder} contains {kind} named {name}, .* Replace it with the"
    ):
        load(config_of(folder))


def test_a_tokenizer_file_of_another_kind_is_refused(folder):
    (folder / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(SpecError, match=rf"model_name: folder {folder}: its tokenizer: "):
        load_tokenizer(config_of(folder))


@pytest.fixture
def adapter(folder, tmp_path):
    """An adapter of the model, in a folder of its own."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"])).save_pretrained(
        tmp_path / "adapter"
    )
    return tmp_path / "adapter"


def _with(**values):
    """A header whose first tensor is said to be other than it is."""
    return lambda header: header[min(header)].update(values)


def _overlapping(header: dict) -> None:
    first, second = sorted(header)[:2]
    header[second]["data_offsets"] = header[first]["data_offsets"]


def _renamed(header: dict) -> None:
    """Two names for the same bytes."""
    header["another"] = header[min(header)]


LIES = {
    "a header of no bytes": 0,
    "a header longer than the file": 10**6,
    "a header of 2**40 bytes": 2**40,
    "a header of 2**63 bytes": 2**63,
    "a header of 2**64 - 1 bytes": 2**64 - 1,
    "no JSON": b"{ this is no JSON }",
    "no mapping": b"[1, 2, 3]",
    "no UTF-8": b'{"\xff": 1}',
    "deep JSON": b"[" * 200_000,
    "offsets of others": _overlapping,
    "the same bytes twice": _renamed,
    "offsets beyond the file": _with(data_offsets=[0, 2**60]),
    "offsets backwards": _with(data_offsets=[4, 0]),
    "offsets below zero": _with(data_offsets=[-4, 0]),
    "a larger dtype": _with(dtype="F64"),
    "a dtype that is none": _with(dtype="F128"),
    "another shape": _with(shape=[3, 5]),
    "no dimension": _with(shape=[]),
    "a shape whose product is beyond 64 bits": _with(shape=[2**40, 2**40]),
    "a shape whose product is zero modulo 2**64": _with(shape=[2**32, 2**32]),
}


def lie(file: Path, untruth) -> None:
    """Put a safetensors file (8 bytes of header length, header, tensors) in place of ``file`` that says the untruth."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    tensors = content[8 + length :]
    if isinstance(untruth, int):
        file.write_bytes(struct.pack("<Q", untruth) + content[8:])
    elif isinstance(untruth, bytes):
        file.write_bytes(struct.pack("<Q", len(untruth)) + untruth + tensors)
    else:
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        untruth(header)
        text = json.dumps(header).encode()
        file.write_bytes(struct.pack("<Q", len(text)) + text + tensors)


@pytest.mark.parametrize("untruth", LIES.values(), ids=LIES)
def test_weights_whose_header_lies_are_named(folder, untruth):
    lie(folder / "model.safetensors", untruth)
    message = rf"model_name: folder {folder}: model\.safetensors is corrupt: \S.*\. Check that it contains"
    with pytest.raises(SpecError, match=message):
        load_model(config_of(folder))


@pytest.mark.parametrize("use_lora", [True, False], ids=["kept", "merged"])
@pytest.mark.parametrize("untruth", LIES.values(), ids=LIES)
def test_adapters_whose_header_lies_are_named(adapter, untruth, use_lora):
    lie(adapter / "adapter_model.safetensors", untruth)
    message = rf"model_name: folder {adapter}: adapter_model\.safetensors is corrupt: \S.*\. "
    with pytest.raises(SpecError, match=message):
        load_model(SFTConfig(model_name=str(adapter), torch_dtype="float32", use_lora=use_lora))
