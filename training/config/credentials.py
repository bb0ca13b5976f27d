# SPDX-License-Identifier: Apache-2.0
"""Credentials: tokens and passwords, which a spec must not hold and an error message must not repeat."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tadrib.training.errors import Problem
from tadrib.training.redaction import has_secret, is_secret_name, redact

_COMMENT = re.compile(r"(?:^|\s)#(.*)")


def find_credentials(value: Any, path: str = "") -> Iterator[Problem]:
    """A problem for each key or text in nested ``value`` that looks like a credential, in JSON text as well; what it
    says is not repeated."""
    if isinstance(value, dict):
        for key, inner in value.items():
            name = str(key)
            where = f"{path}.{name}" if path else name
            if has_secret(name) or (is_secret_name(name) and _holds_text(inner)):
                yield _problem(where)
            else:
                yield from find_credentials(inner, where)
    elif isinstance(value, (list, tuple)):
        for position, inner in enumerate(value):
            yield from find_credentials(inner, f"{path}[{position}]")
    elif isinstance(value, str):
        if found := list(find_credentials(_json_mapping(value), path)):
            yield from found
        elif has_secret(value):
            yield _problem(path)


def find_credentials_in_comments(text: str) -> Iterator[Problem]:
    """A problem for each line of YAML whose comment looks like a credential: comments travel with the spec."""
    for number, line in enumerate(text.splitlines(), start=1):
        comment = _COMMENT.search(line)
        if comment and has_secret(comment[1]):
            yield _problem(f"line {number}")


def _holds_text(value: Any) -> bool:
    """Whether anything is given under a key: text or a number, at any depth."""
    if isinstance(value, dict):
        return any(_holds_text(inner) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds_text(inner) for inner in value)
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _json_mapping(text: str) -> dict[str, Any]:
    """The mapping that ``text`` states as JSON, as `deepspeed` may; else an empty one."""
    if not text.lstrip().startswith("{"):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _problem(where: str) -> Problem:
    return Problem(
        redact(where),
        "looks like a credential, and a spec is copied into run directories, job commands and ConfigMaps.",
        "Take it out, revoke it if it was shared, and give it in the environment of the nodes (HF_TOKEN, AWS_PROFILE, "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY); with Helm by a Secret that platform.secrets names.",
        "no_credentials",
    )
