# SPDX-License-Identifier: Apache-2.0
"""What a refusal proposes is accepted: each value and key in its advice is put into the spec, which must then pass."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tadrib.training.config import METHODS, parse_spec
from tadrib.training.config.spec import spec_keys
from tadrib.training.config.strategy import PRESETS
from tadrib.training.config.yaml.file import parse_yaml
from tadrib.training.errors import Problem, SpecError
from tests.config.test_config_rules import CASES, make_mapping

KEYS = sorted({key for each in METHODS.values() for key in spec_keys(each.config)}, key=len, reverse=True)
SETTING = re.compile(rf"({'|'.join(map(re.escape, KEYS))}): (\{{[^}}]*\}}|\[[^\]]*\]|\"[^\"]*\"|[^\s,;]+)")
REMOVAL = re.compile(rf"[Rr]emove ({'|'.join(map(re.escape, KEYS))}|it|the key)\b")
_LEADS = "Did you mean|Write|Put it in quotes:|Example:|Use|Name those you want, such as"
VALUE = re.compile(rf"^(?:{_LEADS}) (.*?)(?: without quotes)?[.?](?: |$)")

Path = list[Any]
Edit = list[tuple[Path, Any]]
GONE = object()

# lines of a spec with a key or a value of the wrong kind
LINES = [
    line.strip()
    for line in r"""
    name: 007 | name: 1e5 | name: 0x1F | name: 1.5 | name: true | name: null | name: ~ | name: .inf | name: -5
    name: -0 | name: 1_000 | name: 123! | name: 2026.01 | name: Arabic_DPO | name: 12:30 | name: 1e400
    dataset_path: null | dataset_path: 2026 | dataset_path: 1e5
    model_revision: 5 | model_revision: 0012 | model_revision: 1e5 | model_revision: 1234567e89 | model_revision: true
    max_steps: 1e3 | max_steps: 010 | max_steps: "٣" | max_steps: "12" | max_steps: "1_000" | max_steps: 1.0
    max_steps: null | learning_rate: "2e-4" | learning_rate: "1e-5 " | learning_rate: null | use_lora: null
    resources: {num_workers: "2"} | resources: {num_workers: 2.0} | resources: {gpus: 1} | resources: null
    seed: "007" | resources: {memory_per_worker: 64} | resources: {memory_per_worker: 64GB}
    lora_target_modules: q_proj | lora_target_modules: "q_proj, v_proj" | lora_target_modules: [q_proj, 3]
    lora_target_modules: "[q_proj" | lora_target_modules: [] | lora_target_modules: "*" | lora_target_modules: null
    report_to: all | report_to: wandbb | report_to: "tensorboard,mlflow" | report_to: null
    text_normalization: nfc | text_normalization: [ta-marbuta] | text_normalization: "nfc alef"
    optim: adamw | torch_dtype: fp32 | torch_dtype: bf16 | evaluation_strategy: step | save_strategy: epochs
    lr: 1e-5 | lora_rr: 8 | workers: 2 | epochs: 3 | batch_size: 8 | strategy: zero-3 | method: SFT
    """.replace("\n", " | ").split(" | ")
    if line.strip()
]


def problems_of(mapping: Any) -> list[Problem]:
    try:
        parse_spec(copy.deepcopy(mapping))
    except SpecError as error:
        return list(error.problems)
    return []


def edits(problem: Problem, mapping: dict[str, Any]) -> Iterator[Edit]:
    """Every way out that the advice of ``problem`` names, as keys with new values; none where it names no value."""
    here = path_of(problem.where)
    if problem.message == "unknown key.":
        if meant := re.match(r"Did you mean ([\w.]+)\?$", problem.action):
            yield [(here, GONE), (path_of(meant[1]), at(mapping, here))]
        return
    for way in re.split(r", or |; or |, else | or (?=[a-z_]+: )", problem.action):
        settings = [(path_of(key), parse_yaml(text.rstrip(".)"))[0]) for key, text in SETTING.findall(way)]
        removed = [(here if key in ("it", "the key") else path_of(key), GONE) for key in REMOVAL.findall(way)]
        value = VALUE.match(way)
        if settings or removed:
            yield settings + removed
        elif value:
            yield from ([(here, parse_yaml(text)[0])] for text in value[1].split(" or "))


def path_of(where: str) -> Path:
    return [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", where)]


def at(mapping: Any, path: Path) -> Any:
    for step in path:
        mapping = mapping[step]
    return mapping


def follow(mapping: dict[str, Any], edit: Edit) -> dict[str, Any]:
    changed = copy.deepcopy(mapping)
    for path, value in edit:
        *parents, leaf = path
        holder = changed.setdefault(*parents, {}) if len(parents) == 1 else at(changed, parents)
        if value is GONE:
            holder.pop(leaf, None)
        else:
            holder[leaf] = value
    return changed


def by_a_file(keys: dict[str, Any]) -> dict[str, Any]:
    """The same strategy as DeepSpeed settings of the user's own."""
    text = (PRESETS / f"{keys['strategy']}.json").read_text(encoding="utf-8")
    return {key: value for key, value in keys.items() if key != "strategy"} | {"deepspeed": text}


WRONG = {
    **{sentence: make_mapping(**keys) for sentence, (_, keys, _) in CASES.items()},
    **{
        f"{sentence}, by a file": make_mapping(**by_a_file(keys))
        for sentence, (_, keys, _) in CASES.items()
        if "strategy" in keys and "deepspeed" not in keys
    },
    **{line: make_mapping(**parse_yaml(line)[0]) for line in LINES},
}


@pytest.mark.parametrize("wrong", WRONG, ids=ascii)
def test_following_any_advice_gives_a_spec_that_is_accepted(wrong):
    mapping = WRONG[wrong]
    found = problems_of(mapping)
    assert found
    for problem in found:
        ways = list(edits(problem, mapping))
        assert ways or problem.where == "deepspeed", problem  # what to change in a file is said by key
        for edit in ways:
            left = problems_of(follow(mapping, edit))
            assert len(left) < len(found), f"{problem}: {edit} -> {left[0]}"
