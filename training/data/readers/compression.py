# SPDX-License-Identifier: Apache-2.0
"""Compression: the content of packed files, and an end to those that hold more than text ever packs into."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import pyarrow as pa

TIMES = 200
"""Text packs to a fifth or a twentieth of its size, rows that repeat one another to less; what unpacks to more than
this many times its size is a slip or a trap, and would fill the memory."""
FREE_BYTES = 100_000_000
"""Unpacked bytes that any file may hold, however small it is."""

_UNPACKERS: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": lambda stream: pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"),
}
SUFFIXES = tuple(_UNPACKERS)
_DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException)


def unpacked(stream: Any, suffix: str, size: int) -> BinaryIO:
    """The content of ``stream``, a file of ``size`` bytes whose name ends in ``suffix``, one of `SUFFIXES`.

    Reading it raises OSError where the file is damaged or holds too much.
    """
    return cast(BinaryIO, io.BufferedReader(_Unpacked(stream, suffix, size), buffer_size=1024 * 1024))


def check_size(unpacked_bytes: int, size: int) -> None:
    """Raise OSError where a file of ``size`` bytes holds more than it may."""
    if unpacked_bytes > max(FREE_BYTES, TIMES * size):
        raise OSError(f"its {size:,} bytes unpack to more than {max(FREE_BYTES, TIMES * size):,}")


class _Unpacked(io.RawIOBase):
    def __init__(self, stream: Any, suffix: str, size: int) -> None:
        self._packed, self._size, self._count = stream, size, 0
        self._content = _UNPACKERS[suffix](stream)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._content.read(len(buffer))
        except _DAMAGE as error:
            raise OSError(f"it is damaged ({error})") from error
        self._count += len(block)
        check_size(self._count, self._size)
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._packed.close()
        super().close()
