# SPDX-License-Identifier: Apache-2.0
"""Violation: what pydantic or the key check found, said as a Problem with the path that the user typed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tadrib.training.config.problems.proposals import Accepts, proposal
from tadrib.training.config.yaml.written import text_of
from tadrib.training.errors import Problem, clip, nearest
from tadrib.training.redaction import HIDDEN, is_secret_name, redact

_BOUNDS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}
_KINDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "string_unicode": "text that UTF-8 can write",
    "list_type": "a list",
    "model_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
}
# What users of neighbouring tools write, where spelling alone would suggest another key.
_SYNONYMS = {
    "model": "model_name",
    "model_name_or_path": "model_name",
    "dataset": "dataset_path",
    "data": "dataset_path",
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size",
    "dtype": "torch_dtype",
    "eval_strategy": "evaluation_strategy",
    "target_modules": "lora_target_modules",
    "warmup_steps": "warmup_ratio",
    "max_seq_len": "max_seq_length",
    "gamma": "simpo_gamma",
    "workers": "resources.num_workers",
    "gpus": "resources.gpus_per_worker",
    "nproc_per_node": "resources.workers_per_node",
    "memory": "resources.memory_per_worker",
}
_KEYS_BELOW = {
    "num_workers": ("min", "max"),
    "datasets": ("path", "name", "format", "columns", "tags", "split", "weight", "max_rows"),
}
"""The keys of mappings that are no section of their own."""
_SHORT_WORDS = {
    "fp32": "float32",
    "float": "float32",
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
}


# What a key of neighbouring tools would do, and why there is none here.
_UNSUPPORTED = {
    "torch_compile": (
        "not supported: packed rows have another shape in every step, and each would be compiled anew.",
        "Remove it; on GPUs, use_liger_kernel: true fuses norms, RoPE and MLPs.",
    ),
}


def show(value: Any, key: str = "") -> str:
    """``value``, which stands under ``key``, as it stands in YAML, on one line of at most 60 characters, with
    credentials hidden."""
    if is_secret_name(key):
        return HIDDEN
    try:
        text = text_of(value) or json.dumps(value, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):  # what Python holds and cannot print, as 5,000 digits
        text = f"<{type(value).__name__}>"
    return clip(redact(text))


def unknown_key(where: str, known: Iterable[str]) -> Problem:
    """The problem of a key nobody knows, with the key that was probably meant; ``known`` are full dotted
    keys."""
    if where in _UNSUPPORTED:
        return Problem(where, *_UNSUPPORTED[where])
    meant = meant_key(where, known)
    action = (
        f"Did you mean {meant}?" if meant else "Remove it; `tadrib validate --show` then prints every key."
    )
    return Problem(clip(where, 120), "unknown key.", action)


def meant_key(where: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` full dotted keys that was probably meant by the key ``where``."""
    if where in _UNSUPPORTED:
        return None
    known = list(known)
    parent, _, leaf = where.rpartition(".")
    same_leaf = [key for key in known if key.rpartition(".")[2] == leaf]
    siblings = [key for key in known if key.rpartition(".")[0] == parent]
    meant = _SYNONYMS.get(leaf)
    if meant not in known:
        meant = next(iter(same_leaf), None) or nearest(where, siblings) or nearest(where, known)
    return meant


def missing_key(where: str, action: str) -> Problem:
    return Problem(where, "required, but not set.", action)


def violation(error: Mapping[str, Any], raw: Any, where: str, accepts: Accepts) -> Problem:
    """The problem that one entry of ``ValidationError.errors()`` reports about the value ``raw`` of key
    ``where``, which ``accepts`` other values or not.

    The path below ``where`` keeps only steps that exist in ``raw``: pydantic also lists the member of a union
    it tried.
    """
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    missing = kind == "missing"
    inner = _typed_path(error["loc"][1:], raw, missing)
    where += inner
    if missing:
        return missing_key(where, f"Add {where.rpartition('.')[2]}.")
    if kind == "extra_forbidden":
        keys = _KEYS_BELOW.get(error["loc"][0], ())
        return unknown_key(where, [f"{where.rpartition('.')[0]}.{key}" for key in keys])
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", context["expected"])
        return _one_of(where, value, options)
    if kind == "string_too_long":
        return Problem(where, f"must have at most {context['max_length']:,} characters, got {len(value):,}.")
    if kind in _BOUNDS:
        name, sign = _BOUNDS[kind]
        bound = int(context[name]) if float(context[name]).is_integer() else context[name]
        return Problem(where, f"must be {sign} {bound:,}, got {show(value)}.")
    if kind in _KINDS:
        action = redact(proposal(kind, value, where, None if inner else accepts))
        return Problem(where, f"must be {_KINDS[kind]}, got {show(value)}.", action)
    return Problem(where, f"{error['msg'].removeprefix('Value error, ')}, got {show(value)}.")


def _one_of(where: str, value: Any, options: list[str]) -> Problem:
    word = value if isinstance(value, str) else show(value)
    short = _SHORT_WORDS.get(word)
    meant = short if short in options else nearest(word, options)
    action = f"Did you mean {meant}?" if meant else ""
    if value == "all":  # as neighbouring tools write it
        action = f"Name those you want, such as [{options[0]}]."
    return Problem(where, f"must be one of {', '.join(options)}, got {show(value)}.", action)


def _typed_path(steps: Iterable[Any], raw: Any, missing: bool) -> str:
    path, at = "", raw
    steps = list(steps)
    for number, step in enumerate(steps):
        if isinstance(at, Mapping) and (step in at or (missing and number == len(steps) - 1)):
            path, at = f"{path}.{step}", at.get(step)
        elif isinstance(at, (list, tuple)) and isinstance(step, int):
            path, at = f"{path}[{step}]", at[step]
    return path
