# SPDX-License-Identifier: Apache-2.0
"""Spec changes: what differs between the spec that a run began with and the one it is to continue with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from training.config import JobSpec
from training.config.differences import differences
from training.config.strategy import as_text, is_json
from training.config.yaml_file import parse_yaml
from training.errors import Problem
from training.run_directory import RunDirectory

# what a run may change between starts without becoming another run
_FREE_KEYS = {
    "resources",
    "storage_path",
    "output_dir",
    "max_failures",
    "hang_factor",
    "hang_seconds",
    "logging_steps",
    "report_to",
    "evaluation_strategy",
    "eval_steps",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "greater_is_better",
    "gradient_checkpointing",
    "ddp_backend",
    "ddp_find_unused_parameters",
    "dataloader_num_workers",
    "dataloader_pin_memory",
}


def changes(spec: JobSpec, run: RunDirectory) -> list[Problem]:
    """Every difference from the spec that ``run`` began with, of those that make another run of it."""
    before = parse_yaml(run.spec_file.read_text(encoding="utf-8"))[0] if run.spec_file.exists() else {}
    action = "Restore it, or start another run with name=…, or start over beside it with --fresh."
    text = "was {0!r} and is {1!r}."
    now = self_contained(spec).to_mapping()
    return differences(_by_setting(before), _by_setting(now), text, action=action, ignoring=_FREE_KEYS)


def self_contained(spec: JobSpec) -> JobSpec:
    """With the text of a DeepSpeed file in place of its path, so that a change of the file is one of the spec."""
    config = spec.config.model_copy()
    config.deepspeed = as_text(config.deepspeed)
    return spec.with_config(config)


def _by_setting(mapping: dict[str, Any]) -> dict[str, Any]:
    """Each of DeepSpeed's settings under a key of its own, ``deepspeed.zero_optimization.stage``."""
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
