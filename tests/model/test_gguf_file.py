# SPDX-License-Identifier: Apache-2.0
"""GGUF files where a model is expected: told apart, with what to do about them; `tests.real` converts a real one."""

from __future__ import annotations

import os
import shlex
import struct

import pytest
from transformers.utils.import_utils import is_gguf_available

from tadrib.training.config import SFTConfig
from tadrib.training.errors import ResourceError, SpecError
from tadrib.training.model.gguf_conversion import convert
from tadrib.training.model.gguf_file import describe, gguf_file
from tadrib.training.model.load import load_model
from tadrib.training.model.source import ModelSource, locate, unloadable
from tadrib.training.model.tokenizer import load_tokenizer
from tests.tiny import tiny_model


def header(*facts: tuple[str, str], version: int = 3) -> bytes:
    """A GGUF file that ends after these strings and a number."""

    def string(text: str) -> bytes:
        return struct.pack("<Q", len(text.encode())) + text.encode()

    pairs = b"".join(string(key) + struct.pack("<I", 8) + string(value) for key, value in facts)
    number = string("gemma3.block_count") + struct.pack("<II", 4, 18)
    return struct.pack("<4sIQQ", b"GGUF", version, 0, len(facts) + 1) + pairs + number


GEMMA = header(
    ("general.architecture", "gemma3"), ("general.type", "model"), ("general.name", "Gemma 3 270m")
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "models" / "gemma q4.gguf"
    path.parent.mkdir()
    path.write_bytes(GEMMA)
    return path


def problem_of(name) -> str:
    with pytest.raises(SpecError) as caught:
        locate(ModelSource("model_name", str(name)))
    [problem] = caught.value.problems
    return str(problem)


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_a_gguf_file_says_what_it_is_and_how_to_train_it(file, load):
    with pytest.raises(SpecError) as caught:
        load(SFTConfig(model_name=str(file), torch_dtype="float32"))

    text = str(caught.value)
    assert f"model_name: {file} is a GGUF file of Gemma 3 270m (gemma3)" in text
    assert "Give the name or folder of the model it was converted from" in text
    assert text.endswith(f"tadrib convert {shlex.quote(str(file))} {shlex.quote(str(file.with_suffix('')))}")


def test_a_folder_of_gguf_files_alone_is_the_same(file):
    assert f"{file} is a GGUF file of Gemma 3 270m (gemma3)" in problem_of(file.parent)


def test_a_gguf_file_by_another_name_is_known_by_its_first_bytes(file):
    renamed = file.rename(file.with_name("model.bin"))
    assert f"{renamed} is a GGUF file" in problem_of(renamed)


def test_beside_a_whole_model_the_folder_is_meant(tmp_path):
    (tmp_path / "model").symlink_to(tiny_model())
    gguf = tmp_path / "model" / "model.gguf"
    try:
        gguf.write_bytes(GEMMA)
        assert problem_of(gguf).endswith(f"Did you mean {tmp_path / 'model'}?")
        assert locate(ModelSource("model_name", str(tmp_path / "model"))) == str(tmp_path / "model")
    finally:
        gguf.unlink(missing_ok=True)


def test_another_file_is_no_missing_folder(tmp_path):
    weights = f"{tiny_model()}/model.safetensors"
    assert problem_of(weights) == (
        f"model_name: {weights} is a file, not the folder of a model. Did you mean {tiny_model()}?"
    )
    notes = tmp_path / "notes.txt"
    notes.write_text("a model")
    assert "A model is a folder with config.json" in problem_of(notes)


def test_a_repository_of_gguf_files_sends_to_the_original():
    source = ModelSource("model_name", "someone/gemma-3-270m-it-GGUF")
    assert "give the name of the model it was converted from" in str(unloadable(source, OSError("no file")))


@pytest.mark.parametrize(
    ("content", "described"),
    [
        (GEMMA, "Gemma 3 270m (gemma3)"),
        (header(("general.architecture", "llama")), "llama"),
        (header(("general.architecture", "قديم"), version=2), "قديم"),
        (GEMMA[:80], "gemma3"),
        (GEMMA[:30], ""),
        (b"GGUF", ""),
        (b"version https://git-lfs.github.com/spec/v1", ""),
        (struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2**64 - 1), ""),
        (struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2) + b"\xff\xff" + struct.pack("<IQ", 8, 0), ""),
    ],
)
def test_what_a_torn_or_hostile_header_tells(tmp_path, content, described):
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    assert describe(file) == described


def test_what_cannot_be_read_stops_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    assert gguf_file(tmp_path / "pipe.gguf") is None
    assert gguf_file(tmp_path) is None
    assert describe(tmp_path) == ""


def test_conversion_refuses_what_it_cannot_do_before_it_starts(file, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("no model")
    with pytest.raises(SpecError, match=r"notes\.txt: is not a GGUF file"):
        convert(notes, tmp_path / "new")
    with pytest.raises(ResourceError, match=r"models: exists\. Choose another folder"):
        convert(file, tmp_path / "models")


@pytest.mark.skipif(is_gguf_available(), reason="the package gguf is installed here")
def test_conversion_without_the_gguf_package_says_how_to_install_it(file, tmp_path):
    with pytest.raises(ResourceError, match="Install it with: pip install gguf"):
        convert(file, tmp_path / "new")

    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not is_gguf_available(), reason="the package gguf is not installed here")
def test_conversion_of_a_torn_file_names_it(file, tmp_path):
    with pytest.raises(SpecError, match=r"gemma q4\.gguf lacks .*embed_tokens"):
        convert(file, tmp_path / "new")

    assert not (tmp_path / "new").exists()
