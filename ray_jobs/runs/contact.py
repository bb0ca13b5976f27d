# SPDX-License-Identifier: Apache-2.0
"""Contact with a cluster while a run is followed there: short losses are tolerated."""

from __future__ import annotations

import time
from collections.abc import Callable

from tadrib.training.errors import ClusterError, Problem


class Unreachable(ClusterError):
    """Nothing answers, perhaps only temporarily."""


class Contact:
    """Contact with the cluster at ``address``, where ``run`` is followed. ``note`` is called once for each loss.

    A loss is final after ``seconds``.
    """

    def __init__(self, address: str, run: str, note: Callable[[str], None], seconds: float) -> None:
        self._address, self._run, self._note, self._seconds = address, run, note, seconds
        self._answered, self._is_lost = time.monotonic(), False

    def answered(self) -> None:
        self._answered, self._is_lost = time.monotonic(), False

    def lost(self, error: Unreachable) -> None:
        """Record a failed request. Raises Unreachable if the last answer is too long ago."""
        if not self._is_lost:
            self._note(f"{self._address} does not answer; retrying for {self._seconds:.0f} seconds")
        self._is_lost = True
        if time.monotonic() - self._answered > self._seconds:
            message = f"has not answered for {self._seconds:.0f} seconds; the run may still be running."
            action = "Run the same command again to follow it; its results are in the run directory."
            problem = Problem(self._address, message, action)
            raise Unreachable(f"lost contact with {self._run}", [problem]) from error
