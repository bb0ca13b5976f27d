# SPDX-License-Identifier: Apache-2.0
"""Hostile specs: whatever stands in a file, an override or a Python value, the answer is a SpecError, soon."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tadrib.training.config import JobSpec, SFTConfig, load_spec
from tadrib.training.errors import SpecError

SPEC = "method: sft\nname: run\ndataset_path: rows.jsonl\n"


def refusal(tmp_path: Path, content: str | bytes) -> str:
    path = tmp_path / "spec.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('seed: !!int ""', "line 4, column 7: not valid YAML: '' is no int"),
        ('beta: !!float "1:x"', "'1:x' is no float"),
        ("use_lora: !!bool maybe", "'maybe' is no bool"),
        ("use_lora: !!null x", "'x' is no null"),
        ("name: !!timestamp x", "the tag tag:yaml.org,2002:timestamp is not read"),
        ("name: !!timestamp 2024-99-99", "timestamp is not read"),
        ("name: !!binary =", "binary is not read"),
        ("name: !!set {a: 1}", "set is not read"),
        ("name: !!omap [a]", "omap is not read"),
        ("name: !local x", "the tag !local is not read"),
        ("name: a\0b", r"the character U\+0000 in line 4 is not allowed"),
        ("name: a\ufeffb", "U+FEFF|must be at most 40 lower-case letters"),
        ("seed: " + "9" * 5000, "a number of 5,000 characters is not read"),
        ("seed: 0x" + "f" * 5000, "a number of 5,002 characters is not read"),
        ("name: " + "[" * 5000, "nested too deeply, more than 10 levels"),
        ("k" * 10_000 + ": 1", "could not find expected ':'"),
    ],
)
def test_yaml_that_no_spec_needs_is_refused_with_its_place(tmp_path, line, said):
    assert re.search(said, refusal(tmp_path, SPEC + line + "\n"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lora_r: 1000000000", "lora_r: must be <= 100,000, got 1000000000."),
        ("num_train_epochs: 1e308", "num_train_epochs: must be <= 1,000,000, got 1e308."),
        ("num_train_epochs: 1e400", "num_train_epochs: must be a finite number"),
        ("max_steps: 1000000000000000000", "max_steps: must be <= 1,000,000,000"),
        ("per_device_train_batch_size: 1000000000000", "per_device_train_batch_size: must be <= 1,000,000"),
        ("hang_seconds: 1e300", "hang_seconds: must be <= 1,000,000"),
        ("resources: {num_workers: 1000000000}", "resources.num_workers: must be <= 10,000"),
        ("resources: {memory_per_worker: " + "9" * 400 + "Gi}", "must be a quantity such as 64Gi"),
        ("model_name: " + "م" * 128, "model_name: must not hold a file name of 256 bytes"),
        ("dataset_path: rows/" + "a" * 256, "dataset_path: must not hold a file name of 256 bytes"),
        ("deepspeed: " + "a" * 256, "deepspeed: must not hold a file name of 256 bytes"),
        ('model_name: "a\\0b"', "model_name: must not hold the character NUL"),
        ('model_name: "\\ud800"', "model_name: must be text that UTF-8 can write"),
        ("model_name: " + "a" * 10_000, "model_name: must have at most 4,096 characters, got 10,000."),
    ],
)
def test_values_beyond_any_use_are_refused_with_their_bound(tmp_path, line, said):
    lines = SPEC + line + "\n"
    assert said in refusal(tmp_path, lines)


def test_no_message_grows_with_what_was_typed(tmp_path):
    assert len(refusal(tmp_path, SPEC + f'optim: "{"x" * 50_000}"\n')) < 1000


def test_pipes_without_a_writer_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(SpecError, match="the file is empty"):
        load_spec(tmp_path / "pipe.yaml")
    with pytest.raises(SpecError, match="cannot be read: it is a device, not a file"):
        load_spec("/dev/zero")
    os.mkfifo(tmp_path / "zero.json")
    with pytest.raises(SpecError, match="deepspeed"):
        SFTConfig(deepspeed=str(tmp_path / "zero.json"))


@pytest.mark.parametrize("value", [{(1, 2): 3}, "\ud800"], ids=["keys", "surrogate"])
def test_python_values_that_cannot_be_printed_are_refused(value):
    for key in ("model_name", "optim", "seed"):
        with pytest.raises(SpecError, match=key) as caught:
            SFTConfig(**{key: value})
        str(caught.value).encode()
    with pytest.raises(SpecError):
        JobSpec(method=value, name="run", dataset_path="d")
