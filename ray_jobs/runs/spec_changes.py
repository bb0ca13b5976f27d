# SPDX-License-Identifier: Apache-2.0
"""Spec changes: the differences between the spec that a run began with and the one to continue it with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from tadrib.training.config import JobSpec, parse_spec
from tadrib.training.config.locations import inside
from tadrib.training.config.problems.differences import differences
from tadrib.training.config.strategy import as_text, is_json
from tadrib.training.config.yaml.file import parse_yaml
from tadrib.training.errors import Problem, SpecError
from tadrib.training.files.regular_file import read_own
from tadrib.training.run.directory import RunDirectory

_LAST_KEY = "engine"
"""The last key of every spec written by a run: a spec without it was not written completely."""


def changes(spec: JobSpec, run: RunDirectory) -> list[Problem]:
    """Every difference from the spec that ``run`` began with, except in keys that may change between launches; none if
    that spec is missing.

    Raises SpecError if it is corrupt.
    """
    content = read_own(run.spec_file)
    if content is None:
        return []
    before = _began_with(run, content)
    action = "Restore the old value, start another run with name=…, or start over with --fresh, which keeps this one."
    text = "was {0!r} and is now {1!r}."
    spec = self_contained(spec)
    ignored = spec.changeable | _newer_than(before, spec)
    return differences(
        _by_setting(before), _by_setting(spec.to_mapping()), text, action=action, ignoring=ignored
    )


def _newer_than(before: dict[str, Any], spec: JobSpec) -> set[str]:
    """The keys that the version which wrote ``before`` did not have, and that ``spec`` leaves at their defaults: an
    upgrade between two launches does not make it another run."""
    now = spec.to_mapping()
    newer = now.keys() - before.keys()
    if not newer:
        return set()
    by_default = parse_spec({k: v for k, v in spec.as_given().items() if k not in newer}).to_mapping()
    return {key for key in newer if now[key] == by_default[key]}


def _began_with(run: RunDirectory, content: bytes) -> dict[str, Any]:
    try:
        found = parse_yaml(content.decode("utf-8", errors="replace"))[0]
    except yaml.YAMLError:
        found = None
    if isinstance(found, dict) and _LAST_KEY in found:
        return found
    message = "is corrupt, so it cannot be compared with the spec given."
    action = "If the run began with that spec, delete the corrupt file and try again; else start over with --fresh."
    place = inside(run.location, run.spec_file.name)
    raise SpecError("the spec of the run cannot be read", [Problem(place, message, action)])


def self_contained(spec: JobSpec) -> JobSpec:
    """The spec with the text of a DeepSpeed file in place of its path, so that changes of the file are detected."""
    return spec.with_config(spec.config.model_copy(update={"deepspeed": as_text(spec.config.deepspeed)}))


def _by_setting(mapping: dict[str, Any]) -> dict[str, Any]:
    """DeepSpeed's settings flattened to one key each, such as ``deepspeed.zero_optimization.stage``."""
    text = mapping.get("deepspeed")
    if not isinstance(text, str) or not is_json(text):
        return mapping
    rest = {key: value for key, value in mapping.items() if key != "deepspeed"}
    return rest | dict(_flat("deepspeed", json.loads(text)))


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield key, value
        return
    for name, inner in value.items():
        yield from _flat(f"{key}.{name}", inner)
