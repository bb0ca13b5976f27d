# SPDX-License-Identifier: Apache-2.0
"""Holder: who writes to a run, as its ``lock.json`` says."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

Seconds = Annotated[float, Field(ge=0, lt=1e11, allow_inf_nan=False)]
"""Since the epoch; some thousand years of them can be shown as a date."""


class Holder(BaseModel):
    """``owner`` is the token of one start. ``process`` says when process ``pid`` of ``host`` started, and ``machine``
    where that number means this process; ``ray_job`` is its submission id. ``started`` and ``beat``, its last sign of
    life, are seconds since the epoch by the holder's clock, which may be wrong: only that ``beat`` changes says
    something to others.
    """

    owner: str
    host: str
    pid: int = Field(ge=1, lt=2**31)
    process: float | None
    machine: str = ""
    ray_job: str | None = None
    started: Seconds
    beat: Seconds

    @classmethod
    def parse(cls, text: bytes | str | None) -> Holder | None:
        """None where there is no lock, or one that a full disk or a crash has torn."""
        try:
            return cls.model_validate_json(text or b"")
        except ValidationError:
            return None

    @classmethod
    def of_this_process(cls) -> Holder:
        """A new token."""
        return cls(
            owner=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            process=_started_at(os.getpid()),
            machine=_machine(),
            ray_job=os.environ.get("TADRIB_SUBMISSION_ID"),
            started=time.time(),
            beat=time.time(),
        )

    @property
    def is_here(self) -> bool:
        """Whether its process, if it lives, can be seen from here."""
        return self.machine == _machine() if self.machine else self.host == socket.gethostname()

    @property
    def is_running(self) -> bool:
        """Of a holder that is here: whether its process lives. Its number may be that of another one by now, which then
        started at another time."""
        return _started_at(self.pid) == self.process


def _machine() -> str:
    """The same for processes that see each other: two containers may share a name, and restart with one."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _started_at(pid: int) -> float | None:
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None
