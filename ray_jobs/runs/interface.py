# SPDX-License-Identifier: Apache-2.0
"""Runs: what can be done with runs, the same in every place where they are.

Each place has an implementation: this machine (`ray_jobs.local`), a Ray cluster (`ray_jobs.cluster`), and a namespace
of Kubernetes (`ray_jobs.kube`). `ray_jobs.cli.places` chooses among them.
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
    """A run that was submitted, or ran already: its name, how messages call it there, and a sentence of what was
    done."""

    name: str
    title: str
    sentence: str


class Runs(Protocol):
    """Runs in one place. ``run`` is the name of one, or its directory as that place sees it.

    Methods raise SpecError when there is no such run, where a status is not ``missing`` instead, and ClusterError when
    the place cannot be reached.
    """

    @property
    def options(self) -> str:
        """Options by which a further command finds the same place; empty on this machine."""

    @property
    def where(self) -> str:
        """The place in words: ``under ./runs``."""

    def submit(self, spec: Path, overrides: Sequence[str], *, fresh: bool = False) -> Submitted:
        """Start the run of a spec, unless it runs already. ``fresh`` moves what its directory holds aside.

        Raises SpecError when the spec is refused, or when another spec runs under its name.
        """

    def status(self, run: str) -> Status:
        """How a run is doing now."""

    def list(self) -> Sequence[Status]:
        """All runs of the place, by a few requests: what only a run's own directory knows may be missing."""

    def logs(self, run: str, worker: int | None = None, *, follow: bool = False) -> Status | None:
        """Write the log of a run's driver, or of a worker.

        ``follow`` goes on until the run ends; that of the driver then gives how it ended.
        """

    def stop(self, run: str, *, seconds: float, force: bool = False) -> Status:
        """Have a run save a checkpoint and end, and give how it ended; one that has ended is left alone.

        ``force`` ends it otherwise where the place can do that and ``seconds`` have passed.
        """
