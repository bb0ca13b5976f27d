# SPDX-License-Identifier: Apache-2.0
"""Programs that a benchmark starts: all processes of one, how it ends, and what it said last."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that it started; nothing when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(process: subprocess.Popen) -> None:
    """End a program with all its processes."""
    for member in tree(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def end_of(log: Path) -> str:
    """The last 20 lines."""
    return "\n".join(log.read_text().splitlines()[-20:])
