# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition that only looking again can tell."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    look: Callable[[], T],
    condition: Callable[[T], object] = bool,
    *,
    timeout: float = math.inf,
    every: float,
) -> T:
    """Call ``look`` until ``condition`` holds for what it returns, or ``timeout`` seconds have passed.

    Returns what the last call returned; after a timeout the condition does not hold for it. Looks at once, then every
    ``every`` seconds, and at least once whatever the timeout. Errors of ``look`` end the wait.
    """
    deadline = time.monotonic() + timeout
    while True:
        seen = look()
        if condition(seen) or time.monotonic() >= deadline:
            return seen
        time.sleep(every)
