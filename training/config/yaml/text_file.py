# SPDX-License-Identifier: Apache-2.0
"""Text file: bytes of what a user named as a small file, without waiting for a pipe or reading a device for ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a file, or of a pipe that somebody writes to, of at most ``most`` bytes.

    Raises OSError: there is none, it is a folder or a device, or it is larger (``errno.EFBIG``).
    """
    try:
        handle = os.open(
            path, os.O_RDONLY | os.O_NONBLOCK
        )  # else a named pipe without a writer waits for one
    except ValueError as error:
        raise OSError(errno.EINVAL, f"no path: {error}") from error
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or os.isatty(handle)):
            raise OSError(errno.EINVAL, "it is a device, not a file")
        os.set_blocking(handle, True)
        return _read(handle, most)
    finally:
        os.close(handle)


def _read(handle: int, most: int) -> bytes:
    content = bytearray()
    while block := os.read(handle, most + 1 - len(content)):
        content += block
        if len(content) > most:
            raise OSError(errno.EFBIG, f"more than {most:,} bytes")
    return bytes(content)
