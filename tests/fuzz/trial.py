# SPDX-License-Identifier: Apache-2.0
"""Trial: one input tried in this process, within bounds of time and memory, and what came of it."""

from __future__ import annotations

import shutil
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Literal

from tadrib.training.errors import TadribError
from tests.fuzz.kinds import KINDS, PREPARATIONS

MAX_SECONDS = 10.0
"""Of computing; a machine at other work gives them late."""
MAX_SECONDS_IN_ALL = 30.0
MAX_BYTES = 2 * 1024**3
MAX_MESSAGE = 30_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """``detail`` is the message of a refusal, or how the fault showed itself."""

    kind: str
    seed: int
    verdict: Literal["accepted", "refused", "fault"]
    seconds: float
    detail: str = ""

    @property
    def command(self) -> str:
        """What tries this very input again, and leaves its files to look at."""
        return f"python -m tests.fuzz --only {self.kind} --seed {self.seed}"


class Overtime(BaseException):
    """The input took longer than it may; no `except Exception` on the way holds it up."""


def run_trial(kind: str, seed: int, folder: Path) -> Outcome:
    """Try the input of ``kind`` and ``seed`` with its files in ``folder``, which is emptied before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    PREPARATIONS.get(kind, lambda: None)()
    began = time.monotonic()
    try:
        with _time_limit():
            KINDS[kind](Random(f"{kind} {seed}"), folder)
        verdict, detail = "accepted", ""
    except TadribError as error:
        verdict, detail = "refused", str(error)
        if len(detail) > MAX_MESSAGE:
            verdict, detail = "fault", f"the message has {len(detail):,} characters: {detail[:500]}"
    except Exception:
        verdict, detail = "fault", traceback.format_exc()
    except Overtime:
        verdict, detail = (
            "fault",
            f"computed more than {MAX_SECONDS:g} s, or waited\n{traceback.format_exc()}",
        )
    if peak_bytes() > MAX_BYTES:
        verdict, detail = "fault", f"took {peak_bytes():,} bytes of memory\n{detail}"
    return Outcome(kind, seed, verdict, time.monotonic() - began, detail)  # type: ignore[arg-type]


def peak_bytes() -> int:
    """The most memory that this process has had (bytes; proc(5), VmHWM).

    Not ``ru_maxrss``: Linux hands that on from the process that started this one, here a test run of many gigabytes.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@contextmanager
def _time_limit() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise Overtime

    before = {number: signal.signal(number, end) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS_IN_ALL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
