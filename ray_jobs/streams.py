# SPDX-License-Identifier: Apache-2.0
"""Standard output and error of a process, sent to a file at the level of file descriptors.

C++ libraries and Ray print past Python's ``sys.stdout``; only the descriptors catch everything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


def send_output_to(log: Path) -> None:
    """For the rest of this process, append all it prints to ``log``."""
    _flush()
    _point_at(log)
    # inside a Ray worker these are Ray's own writers, which prefix and filter lines
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


@contextmanager
def output_sent_to(log: Path) -> Iterator[TextIO]:
    """While inside, append what this process prints to ``log``; gives a stream to where it printed before.

    A ``sys.stdout`` that is no file descriptor (a notebook's) is left as it is and given.
    """
    _flush()
    saved = os.dup(1), os.dup(2)
    screen = os.fdopen(os.dup(saved[0]), "w", encoding="utf-8") if _is_descriptor(sys.stdout) else None
    _point_at(log)
    try:
        yield screen or sys.stdout
    finally:
        _flush()
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        if screen is not None:
            screen.close()


def _point_at(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _is_descriptor(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError, AttributeError):
        return False
