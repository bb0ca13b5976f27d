# SPDX-License-Identifier: Apache-2.0
"""Credentials: tokens and passwords, which a spec must not hold and an error message must not repeat."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from training.errors import Problem

_SECRET_KEY = re.compile(
    r"(^|[_\-.])(token|secret|passwd|password|api_?key|secret_?key|access_?key(_?id)?|private_?key|credentials?)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|\b(AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS access key id
    r"|aws_secret_access_key\s*[=:]\s*\S+"
    r"|\b(ghp|gho|ghs)_[A-Za-z0-9]{30,}|\bgithub_pat_\w{20,}"
    r"|\bsk-[A-Za-z0-9_\-]{20,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|://[^/\s:@]+:[^/\s@]+@",  # user:password in a URL
)


def mask(text: str) -> str:
    """``text`` with anything that looks like a credential replaced by ``<hidden>``."""
    return _SECRET_TEXT.sub("<hidden>", text)


def find_credentials(value: Any, path: str = "") -> Iterator[Problem]:
    """A problem for each key or text in nested ``value`` that looks like a credential; the text is not
    repeated."""
    if isinstance(value, dict):
        for key, inner in value.items():
            where = f"{path}.{key}" if path else str(key)
            if _SECRET_KEY.search(str(key)) and isinstance(inner, (str, int)) and not isinstance(inner, bool):
                yield _problem(where)
            else:
                yield from find_credentials(inner, where)
    elif isinstance(value, (list, tuple)):
        for position, inner in enumerate(value):
            yield from find_credentials(inner, f"{path}[{position}]")
    elif isinstance(value, str) and _SECRET_TEXT.search(value):
        yield _problem(path)


def _problem(where: str) -> Problem:
    return Problem(
        mask(where),
        "looks like a credential, and a spec is copied into run directories and ConfigMaps.",
        "Take it out, revoke it if it was shared, and pass it in the environment (HF_TOKEN, AWS_PROFILE).",
        "no_credentials",
    )
