# SPDX-License-Identifier: Apache-2.0
"""Kubernetes status: how a run is doing on a cluster, as one sentence, the next action and an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tadrib.ray_jobs.runs.status import RunStatus

State = Literal["queued", "pending", "running", "succeeded", "failed", "stopped"]
EXIT_CODES: dict[State, int] = {
    "queued": 0,
    "pending": 0,
    "running": 0,
    "succeeded": 0,
    "failed": 1,
    "stopped": 130,
}


@dataclass(frozen=True, slots=True)
class KubeStatus:
    """``sentence`` is whole, with the run's name. ``exit_code`` of a run's own command, where it is known, is that
    of `training.errors`; `code` is this status'. ``facts`` are further lines, label and value."""

    state: State
    name: str
    sentence: str
    action: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    driver_exit_code: int | None = None
    progress: RunStatus | None = None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.state]

    @property
    def has_ended(self) -> bool:
        return self.state in ("succeeded", "failed", "stopped")

    def to_json(self) -> dict[str, Any]:
        import dataclasses

        progress = dataclasses.asdict(self.progress) if self.progress else None
        return {
            "state": self.state,
            "name": self.name,
            "sentence": self.sentence,
            "action": self.action,
            "exit_code": self.exit_code,
            "facts": [list(fact) for fact in self.facts],
            "progress": progress,
        }
