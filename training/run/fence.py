# SPDX-License-Identifier: Apache-2.0
"""Fence: between a start that has lost its run to another one, and what that one writes."""

from __future__ import annotations

from tadrib.training.errors import Problem, ResourceError
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.holder import Holder
from tadrib.training.run.names import LOCK


class TakenOverError(ResourceError):
    """Another start writes to the run."""


class Fence:
    """Asked before anything that lasts is written to ``run``: checkpoints, final weights, the result.

    ``token`` is that of the start that asks. A start whose machine slept or could not reach the storage for a while may
    have been taken for dead.
    """

    def __init__(self, run: RunDirectory, token: str) -> None:
        self.token = token
        self._run = run

    def is_lost(self) -> bool:
        """Whether the lock has another's token, or is gone, as another start has had the run and let it go.

        A torn one is nobody's.
        """
        text = self._run.files.read(LOCK)
        holder = Holder.parse(text)
        return text is None or (holder is not None and holder.owner != self.token)

    def require(self) -> None:
        """Raise TakenOverError when the run is lost."""
        if self.is_lost():
            raise self.error()

    def error(self) -> TakenOverError:
        """That the run is lost, and to whom."""
        holder = self._run.files.holder()
        who = f"process {holder.pid} on {holder.host}" if holder else "another start"
        message = f"{who} has taken it over, and this start writes nothing more to it."
        action = f"Follow the run with tadrib status {self._run}."
        return TakenOverError("another start has the run", [Problem(str(self._run), message, action)])
