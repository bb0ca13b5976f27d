# SPDX-License-Identifier: Apache-2.0
"""The tiny model: the same bytes each time, a Qwen2 that transformers opens, and no other folder overwritten."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
from typer.testing import CliRunner

from tadrib.ray_jobs.cli.app import app
from tadrib.training.errors import DataError, ResourceError
from tadrib.training.tiny import tokenizer as tiny_tokenizer
from tadrib.training.tiny.model import build_tiny_model

ARABIC = "كم مجموع سبعة وأربعين وثلاثة؟ الجواب: خمسون دينارًا، والعاصمة عمّان. The end, 247!"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_another_process_with_other_thread_counts_builds_the_same_bytes(built, tmp_path):
    code = f"from tadrib.training.tiny.model import build_tiny_model; build_tiny_model({str(tmp_path / 'again')!r})"
    env = {"OMP_NUM_THREADS": "3", "RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "7", "PATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True)
    assert digests(tmp_path / "again") == digests(built)


def test_the_seed_changes_the_weights_and_not_the_tokenizer(built, tmp_path):
    other, first = digests(build_tiny_model(tmp_path / "other", seed=1)), digests(built)
    assert other["model.safetensors"] != first["model.safetensors"]
    assert other["tokenizer.json"] == first["tokenizer.json"]


def test_building_leaves_the_random_state_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_tiny_model(tmp_path / "tiny")
    assert torch.equal(torch.rand(3), expected)


def test_transformers_opens_it_as_a_small_qwen2(built):
    model = AutoModelForCausalLM.from_pretrained(built)
    tokenizer = AutoTokenizer.from_pretrained(built)
    assert isinstance(model, Qwen2ForCausalLM)
    assert model.dtype is torch.float32
    assert model.num_parameters() < 3_000_000
    assert 2_000 < len(tokenizer) <= model.config.vocab_size <= 4_000
    prompt = tokenizer("ما عاصمة مصر؟", return_tensors="pt")
    assert (
        model.generate(**prompt, max_new_tokens=4, do_sample=False).shape[1]
        <= prompt["input_ids"].shape[1] + 4
    )


def test_text_survives_the_tokenizer(built):
    tokenizer = AutoTokenizer.from_pretrained(built)
    for text in (ARABIC, "日本 🙂\n\ttab", "\u0623\u064b"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer.tokenize("سبعة وأربعون")) == 2


def test_turns_are_written_and_ended_as_qwen_does(built):
    tokenizer = AutoTokenizer.from_pretrained(built)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    turns = [{"role": "user", "content": "ما عاصمة مصر؟"}, {"role": "assistant", "content": "القاهرة"}]
    text = "<|im_start|>user\nما عاصمة مصر؟<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True) == text
    assert tokenizer.apply_chat_template(turns, tokenize=False) == f"{text}القاهرة<|im_end|>\n"
    ids = tokenizer(text)["input_ids"]
    assert [
        ids.count(tokenizer.convert_tokens_to_ids(token)) for token in ("<|im_start|>", "<|im_end|>")
    ] == [2, 1]
    assert (
        AutoModelForCausalLM.from_pretrained(built).generation_config.eos_token_id == tokenizer.eos_token_id
    )


def test_a_tiny_model_is_replaced_and_nothing_is_left_aside(tmp_path, built):
    target = build_tiny_model(tmp_path / "tiny", seed=3)
    (target / "stale.txt").write_text("of the old one")
    build_tiny_model(target)
    assert digests(target) == digests(built)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "tiny").mkdir()
    assert (build_tiny_model(tmp_path / "tiny") / "model.safetensors").is_file()


@pytest.mark.parametrize("content", [b"{", b"\xff", b"3", b'"tadrib_tiny_model"', b"[" * 100_000, "a pipe"])
def test_a_folder_whose_config_is_damaged_is_none_of_ours(tmp_path, content):
    target = tmp_path / "mine"
    target.mkdir()
    if isinstance(content, bytes):
        (target / "config.json").write_bytes(content)
    else:
        os.mkfifo(target / "config.json")
    with pytest.raises(
        ResourceError, match=r"mine: exists and is not a tiny model\. Choose another directory"
    ):
        build_tiny_model(target)
    assert (target / "config.json").exists()


@pytest.mark.parametrize("content", ["notes", "another model", "a file"])
def test_anything_else_is_left_untouched(tmp_path, content):
    target = tmp_path / "mine"
    if content == "a file":
        target.write_text("precious")
    elif content == "notes":
        target.mkdir()
        (target / "notes.txt").write_text("precious")
    else:
        Qwen2Config(hidden_size=8).save_pretrained(target)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        ResourceError, match=r"mine: exists and is not a tiny model\. Choose another directory"
    ):
        build_tiny_model(target)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_tokenizer_learns_from_texts_that_the_caller_gives(tmp_path):
    plain, lines = tmp_path / "a.txt", tmp_path / "b.jsonl"
    plain.write_text("زقزقة العصافير\n" * 9, encoding="utf-8")
    lines.write_text('{"prompt": [{"content": "زقزقة"}], "n": 1}\n' * 9, encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(build_tiny_model(tmp_path / "tiny", texts=[plain, str(lines)]))
    assert len(tokenizer.tokenize("زقزقة العصافير")) == 2
    assert len(tokenizer.tokenize("prompt")) > 1


def test_the_command_needs_no_bundled_data_where_it_is_given_the_same_files(tmp_path, monkeypatch, built):
    files = sorted(tiny_tokenizer.BUNDLED_DATA.glob("*_train.jsonl"))
    monkeypatch.setattr(tiny_tokenizer, "BUNDLED_DATA", tmp_path / "none")
    texts = [word for path in files for word in ("--text", str(path))]
    done = CliRunner().invoke(app, ["tiny-model", str(tmp_path / "tiny"), *texts])
    assert f"wrote {tmp_path / 'tiny'}\n" in done.output
    assert digests(tmp_path / "tiny") == digests(built)


def test_texts_that_cannot_be_read_are_all_named(tmp_path):
    latin = tmp_path / "latin.txt"
    latin.write_bytes("é".encode("latin-1"))
    deep, pipe = tmp_path / "deep.jsonl", tmp_path / "pipe.txt"
    deep.write_text("[" * 100_000)
    os.mkfifo(pipe)
    texts = [tmp_path / "missing.txt", latin, deep, pipe, Path("/dev/zero"), tmp_path]
    with pytest.raises(DataError, match=r"6 problems") as caught:
        build_tiny_model(tmp_path / "tiny", texts=texts)
    for problem, path in zip(caught.value.problems, texts, strict=True):
        assert problem.where == str(path)
        assert problem.message.startswith("cannot be read: ")
        assert problem.action.startswith("Give plain text in UTF-8")
    assert not (tmp_path / "tiny").exists()


def test_without_the_bundled_data_the_caller_is_asked_for_texts(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_tokenizer, "BUNDLED_DATA", tmp_path / "none")
    with pytest.raises(
        DataError, match=r"the bundled data sets are not there.*--text FILE.*texts=\[\.\.\.\]"
    ):
        build_tiny_model(tmp_path / "tiny")
