# SPDX-License-Identifier: Apache-2.0
"""Contact with a cluster while a run is followed there: it may be lost for a while, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable

from tadrib.training.errors import ClusterError, Problem


class Unreachable(ClusterError):
    """Nothing answers, perhaps only for a while."""


class Contact:
    """With the cluster at ``address``, where ``run`` is followed. ``note`` is told once of each loss.

    ``patience`` is the seconds after which a loss is final.
    """

    def __init__(self, address: str, run: str, note: Callable[[str], None], patience: float) -> None:
        self._address, self._run, self._note, self._patience = address, run, note, patience
        self._answered, self._is_lost = time.monotonic(), False

    def answered(self) -> None:
        self._answered, self._is_lost = time.monotonic(), False

    def lost(self, error: Unreachable) -> None:
        """Raises Unreachable when the cluster has not answered for too long."""
        if not self._is_lost:
            self._note(f"{self._address} does not answer; trying again for {self._patience:.0f} seconds")
        self._is_lost = True
        if time.monotonic() - self._answered > self._patience:
            message = f"has not answered for {self._patience:.0f} seconds; the run may go on."
            action = "Run the same command again to follow it; its results are in the run directory."
            problem = Problem(self._address, message, action)
            raise Unreachable(f"lost sight of {self._run}", [problem]) from error
