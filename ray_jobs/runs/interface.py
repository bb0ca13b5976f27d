# SPDX-License-Identifier: Apache-2.0
"""Runs: the operations on runs, with the same interface wherever they run.

There are three implementations: this machine (`ray_jobs.local`), a Ray cluster (`ray_jobs.cluster`), and a Kubernetes
namespace (`ray_jobs.kube`). `ray_jobs.cli.places` chooses among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tadrib.ray_jobs.runs.status import Status

Write = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run that was submitted, or was already running: its name, its title in messages, and a sentence of what was
    done."""

    name: str
    title: str
    sentence: str


class Runs(Protocol):
    """Runs in one place. ``run`` is the name of a run, or its directory as that place sees it.

    Methods raise SpecError if there is no such run, unless they return the status ``missing``, and ClusterError if the
    place cannot be reached.
    """

    @property
    def options(self) -> str:
        """The command-line options that select this place; empty for this machine."""

    @property
    def where(self) -> str:
        """The place in words: ``under ./runs``."""

    def submit(self, spec: Path, overrides: Sequence[str], *, fresh: bool = False) -> Submitted:
        """Start the run of a spec, unless it is already running. ``fresh`` moves the existing run directory aside.

        Raises SpecError if the spec is invalid, or if another spec runs under its name.
        """

    def status(self, run: str) -> Status:
        """The current status of a run."""

    def list(self) -> Sequence[Status]:
        """All runs in this place, with few requests: facts that only a run's directory has may be missing."""

    def logs(self, run: str, worker: int | None = None, *, follow: bool = False) -> Status | None:
        """Print the log of a run's driver, or of a worker.

        ``follow`` continues until the run ends; for the driver, the final status is returned.
        """

    def stop(self, run: str, *, seconds: float, force: bool = False) -> Status:
        """Make a run save a checkpoint and end, and return its final status. A run that has ended is left alone.

        With ``force``, a run that has not ended after ``seconds`` is killed, if this place can do that.
        """
