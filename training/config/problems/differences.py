# SPDX-License-Identifier: Apache-2.0
"""Differences between two resolved specs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tadrib.training.errors import Problem


def differences(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    text: str,
    *,
    action: str = "",
    ignoring: Collection[str] = (),
) -> list[Problem]:
    """A problem for each key whose values differ, in the order of the keys.

    ``text`` says it of both values, as in ``"was {0!r} and is {1!r}."``; a key that one side lacks is None there.
    """
    return [
        Problem(key, text.format(before.get(key), now.get(key)), action)
        for key in sorted(before.keys() | now.keys())
        if key not in ignoring and before.get(key) != now.get(key)
    ]
