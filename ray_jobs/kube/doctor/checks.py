# SPDX-License-Identifier: Apache-2.0
"""Check: one thing that `tadrib doctor` looked at, what it found, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tadrib.ray_jobs.kube.api import Forbidden, KubernetesApi, NotFound

Object = dict[str, Any]
Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """``fail`` stops a run, or would; ``warn`` may."""

    name: str
    verdict: Verdict
    said: str
    action: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def ok(name: str, said: str) -> Check:
    return Check(name, "ok", said)


def warn(name: str, said: str, action: str = "") -> Check:
    return Check(name, "warn", said, action)


def fail(name: str, said: str, action: str) -> Check:
    return Check(name, "fail", said, action)


def unread(name: str, what: str) -> Check:
    """A check that could not be made."""
    return warn(name, f"you may not read {what}, so this was not checked", "Ask an administrator to run it.")


def looked_up(api: KubernetesApi, path: str) -> Object | None:
    """The object; None where there is none. Raises Forbidden."""
    try:
        return api.get(path)
    except NotFound:
        return None


def unless_forbidden(name: str, what: str, check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks, or one that says that ``what`` may not be read."""
    try:
        yield from check()
    except Forbidden:
        yield unread(name, what)
