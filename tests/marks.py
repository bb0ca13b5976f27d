# SPDX-License-Identifier: Apache-2.0
"""Marks of tests that need what most machines lack, and are run by a make target of their own."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest


def skip_unless_asked_for(
    config: pytest.Config,
    items: list[pytest.Item],
    mark: str,
    otherwise: str,
    why_not: Callable[[], str | None],
) -> None:
    """Skip the items with ``mark``: because of ``otherwise`` where -m does not ask for them, else because of what
    ``why_not`` finds missing, if anything."""
    marked = [item for item in items if item.get_closest_marker(mark)]
    if not marked:
        return
    is_asked_for = re.search(rf"(?<!not )\b{mark}\b", config.option.markexpr)
    if reason := why_not() if is_asked_for else otherwise:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
