# SPDX-License-Identifier: Apache-2.0
"""Holder: the process that writes to a run, as recorded in its ``lock.json``."""

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
"""Seconds since the epoch, bounded so that they can be shown as a date."""


class Holder(BaseModel):
    """The content of ``lock.json``.

    ``owner`` is the token of one start. ``process`` is when process ``pid`` of ``host`` started, ``machine`` identifies
    the PID namespace in which ``pid`` is valid, and ``ray_job`` is the submission id. ``started`` and ``beat`` (the
    last heartbeat) are seconds since the epoch by the holder's clock. That clock may be wrong, so others only look at
    whether ``beat`` changes.
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
        """None if there is no lock, or one that a full disk or crash left incomplete."""
        try:
            return cls.model_validate_json(text or b"")
        except ValidationError:
            return None

    @classmethod
    def of_this_process(cls) -> Holder:
        """A holder for this process, with a new token."""
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
        """Whether its process, if alive, is visible from here."""
        return self.machine == _machine() if self.machine else self.host == socket.gethostname()

    @property
    def is_running(self) -> bool:
        """For a holder that is here: whether its process is alive."""
        # the PID may have been reused by now, by a process that started at another time
        return _started_at(self.pid) == self.process


def _machine() -> str:
    """An id shared by processes that see each other. A host name is not enough: containers reuse names, also after a
    restart."""
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
