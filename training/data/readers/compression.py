# SPDX-License-Identifier: Apache-2.0
"""Decompress files, with a limit that stops decompression bombs."""

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
"""Maximum compression ratio. Text compresses 5 to 20 times, repetitive rows more; beyond this a file is a mistake or an
attack, and would exhaust memory."""
FREE_BYTES = 100_000_000
"""Decompressed bytes allowed for any file, however small it is."""

_UNPACKERS: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": lambda stream: pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"),
}
SUFFIXES = tuple(_UNPACKERS)
_DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException)


def unpacked(stream: Any, suffix: str, size: int) -> BinaryIO:
    """The decompressed content of ``stream``, a file of ``size`` bytes whose name ends in ``suffix`` (see `SUFFIXES`).

    Reading it raises OSError if the file is corrupt or decompresses to too much.
    """
    return cast(BinaryIO, io.BufferedReader(_Unpacked(stream, suffix, size), buffer_size=1024 * 1024))


def check_size(unpacked_bytes: int, size: int) -> None:
    """Raise OSError if a file of ``size`` bytes decompresses to more than is allowed."""
    if unpacked_bytes > max(FREE_BYTES, TIMES * size):
        raise OSError(f"its {size:,} bytes decompress to more than {max(FREE_BYTES, TIMES * size):,}")


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
            raise OSError(f"it is corrupt: {error}") from error
        self._count += len(block)
        check_size(self._count, self._size)
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._packed.close()
        super().close()
