# SPDX-License-Identifier: Apache-2.0
"""Loading: a spec from a YAML file and the overrides of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tadrib.training.config.problems.violations import show
from tadrib.training.config.spec import JobSpec, holds_text, parse_spec
from tadrib.training.config.yaml.file import parse_file, parse_yaml, read_text
from tadrib.training.errors import Problem


def load_spec(path: str | Path, overrides: Iterable[str] = ()) -> JobSpec:
    """The spec in the YAML file ``path``, with ``overrides`` such as ``resources.num_workers=2`` on top.

    Raises SpecError with everything that is wrong with file, overrides and spec.
    """
    return load_text(read_text(path), str(path), overrides)


def load_text(text: str, title: str, overrides: Iterable[str] = ()) -> JobSpec:
    """`load_spec` of the text of the file ``title``, which a pipe gives only once."""
    value, problems = parse_file(text, title)
    if isinstance(value, dict):
        problems += apply_overrides(value, overrides)
    return parse_spec(value, title, problems)


def apply_overrides(mapping: dict[Any, Any], overrides: Iterable[str]) -> list[Problem]:
    """Set each ``dotted.key=value`` in ``mapping``, the value read as YAML, or as it stands where the key takes text;
    returns what could not be set."""
    problems: list[Problem] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip().removeprefix("--")
        if not equals or not all(key.split(".")):
            action = "Write lora_r=8 or resources.num_workers=2."
            name = re.split(r"[:\s]", key, maxsplit=1)[0]
            problems.append(Problem(show(override, name), "an override is key=value.", action))
            continue
        try:
            value, twice = parse_yaml(text)
        except yaml.YAMLError:
            problems.append(_unreadable(key, text))
            continue
        if value is None and text.lstrip().startswith("#"):
            problems.append(_unreadable(key, text))
            continue
        problems += twice
        if isinstance(value, (int, float)) and holds_text(mapping.get("method"), key):
            value = text.strip()  # a shell takes the quotes away that a file would need
        problem = _set(mapping, key, value)
        problems += [problem] if problem else []
    return problems


def _set(mapping: dict[Any, Any], key: str, value: Any) -> Problem | None:
    *parents, leaf = key.split(".")
    at = mapping
    for depth, parent in enumerate(parents, start=1):
        if at.get(parent) is None:
            at[parent] = {}
        if not isinstance(at[parent], dict):
            where = ".".join(parents[:depth])
            message = f"cannot be set, as {where} is {show(at[parent], where)} and not a mapping."
            return Problem(key, message, f"Write {where}={{...}} with all its keys.")
        at = at[parent]
    at[leaf] = value
    return None


def _unreadable(key: str, text: str) -> Problem:
    return Problem(
        key, f"the value {show(text, key)} is not valid YAML.", f"Quote it twice: {key}='\"...\"'."
    )
