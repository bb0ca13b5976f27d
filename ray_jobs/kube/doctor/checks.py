# SPDX-License-Identifier: Apache-2.0
"""Check: one finding of `tadrib doctor`, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tadrib.ray_jobs.kube.api import Forbidden, KubernetesApi, NotFound

Object = dict[str, Any]
Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """The verdict ``fail`` means that a run cannot start or succeed, ``warn`` that it may not."""

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
    """A check that could not be made for lack of permission."""
    return warn(
        name, f"you may not read {what}, so this was not checked", "Ask an administrator to check it."
    )


def looked_up(api: KubernetesApi, path: str) -> Object | None:
    """The object, or None. Raises Forbidden."""
    try:
        return api.get(path)
    except NotFound:
        return None


def unless_forbidden(name: str, what: str, check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks, or a warning that ``what`` may not be read."""
    try:
        yield from check()
    except Forbidden:
        yield unread(name, what)
