# SPDX-License-Identifier: Apache-2.0
"""Streams: redirects a process's standard output and error to a file, at the level of file descriptors.

C++ libraries and Ray bypass Python's ``sys.stdout``; only redirected descriptors catch everything.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from tadrib.ray_jobs.disk import is_full


def send_output_to(log: Path) -> None:
    """Append all output of this process to ``log``, until it ends."""
    _flush()
    _point_at(log)
    sys.stdout, sys.stderr = _stream(1), _stream(2)


@contextmanager
def output_sent_to(log: Path) -> Iterator[TextIO]:
    """Within the context, append all output of this process to ``log``; yields a stream to the original output.

    That is a copy of descriptor 1, or ``sys.stdout`` if that is something else, such as a notebook's. If it is not a
    terminal, lines written to it also go to ``log``, which may be all that remains of a cluster.
    """
    _flush()
    streams = sys.stdout, sys.stderr
    saved = os.dup(1), os.dup(2)
    screen = _stream(saved[0]) if _is_descriptor_1(sys.stdout) else sys.stdout
    _point_at(log)
    sys.stdout, sys.stderr = _stream(1), _stream(2)
    try:
        yield screen if screen.isatty() else cast(TextIO, _Tee(screen, sys.stdout))
    finally:
        _flush()
        screen.flush()
        sys.stdout, sys.stderr = streams
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)


def discard_unwritable_output() -> None:
    """Discard buffered output that cannot be written, as on a full disk, so that the process keeps its exit code:
    Python flushes both streams at exit, and exits with 120 if that fails."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


class _Tee(io.TextIOBase):
    """A text stream that writes to several."""

    def __init__(self, *streams: TextIO) -> None:
        self._streams = streams

    def write(self, text: str) -> int:
        for stream in self._streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()


def _point_at(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _stream(descriptor: int) -> TextIO:
    binary = io.BufferedWriter(_Descriptor(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", line_buffering=True)


class _Descriptor(io.FileIO):
    """A descriptor that is never closed, as loggers created meanwhile keep a reference. On a full disk it drops output:
    an error about the log must not replace the error that matters."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if not is_full(error):
                raise
            return len(data)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            if not is_full(error):
                raise


def _is_descriptor_1(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError, AttributeError):
        return False
