# SPDX-License-Identifier: Apache-2.0
"""The README's first run, word for word: its spec learns, and its model then answers otherwise than before."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tadrib.training.config import load_spec, resolve
from tadrib.training.tiny.model import build_tiny_model
from tadrib.training.trainers import create_trainer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def first_block(language: str, holding: str) -> str:
    """The first fenced block of the README in this language that holds a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(block for block in blocks if holding in block)


def commands() -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in first_block("bash", "tadrib train").splitlines()]


@pytest.fixture
def newcomer(tmp_path, monkeypatch) -> Path:
    """A folder with the repository's examples, the tiny model where the README builds it, and its spec."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (command,) = re.findall(r"`tadrib tiny-model (\S+?)`", README)
    build_tiny_model(tmp_path / command)
    (tmp_path / "spec.yaml").write_text(first_block("yaml", "my-first-run"), encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_the_first_spec_learns(newcomer):
    trainer = create_trainer("sft", resolve(load_spec("spec.yaml")).spec.config)
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert before["eval_perplexity"] > 1000
    assert after["eval_perplexity"] < before["eval_perplexity"] / 100
    trainer.save_model(newcomer / "final")
    (compare,) = [command for command in commands() if command[1] == "compare"]
    (row,) = trainer.compare([compare[compare.index("--prompt") + 1]], max_length=24)
    assert row["trained_model_response"] != row["reference_model_response"]


def test_the_commands_name_what_the_spec_makes(newcomer):
    spec = load_spec("spec.yaml")
    named = {command[1]: command for command in commands()}
    assert list(named) == ["validate", "data", "train", "compare"]
    assert named["compare"][2] == spec.name
    assert Path(named["data"][3]) == Path(spec.config.dataset_path)
    for command in commands():
        if command[1] == "train":
            load_spec(command[2], command[3:])
