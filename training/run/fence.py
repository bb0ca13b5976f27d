# SPDX-License-Identifier: Apache-2.0
"""Fence: keeps a start that has lost its run from overwriting the files of the start that took over."""

from __future__ import annotations

from tadrib.training.errors import Problem, ResourceError
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.holder import Holder
from tadrib.training.run.names import LOCK


class TakenOverError(ResourceError):
    """Another start has taken over the run."""


class Fence:
    """Checked before every durable write to ``run``: checkpoints, final weights, the result.

    ``token`` identifies this start. A start whose machine was suspended, or cut off from the storage, may have been
    taken for dead and replaced.
    """

    def __init__(self, run: RunDirectory, token: str) -> None:
        self.token = token
        self._run = run

    def is_lost(self) -> bool:
        """Whether the lock has another start's token, or is gone: then another start took the run and released it.

        A lock file that cannot be parsed belongs to nobody.
        """
        text = self._run.files.read(LOCK)
        holder = Holder.parse(text)
        return text is None or (holder is not None and holder.owner != self.token)

    def require(self) -> None:
        """Raise TakenOverError if the run is lost."""
        if self.is_lost():
            raise self.error()

    def error(self) -> TakenOverError:
        """The error to raise: the run is lost, and to whom."""
        holder = self._run.files.holder()
        who = f"process {holder.pid} on {holder.host}" if holder else "another start"
        message = f"{who} has taken it over; this start writes nothing more to it."
        action = f"Follow the run with tadrib status {self._run}."
        return TakenOverError("another start has the run", [Problem(str(self._run), message, action)])
