# SPDX-License-Identifier: Apache-2.0
"""Lines of a UTF-8 text file with their numbers and byte offsets, held in memory only up to a limit."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from tadrib.training.data.rows.row_problem import RowProblem

MAX_LINE_BYTES = 8 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
_OTHER_ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its line break.

    ``number`` counts from 1, ``offset`` is the byte position of its start in the file, and ``size`` its length.
    If ``size`` exceeds the limit, ``data`` has only the first bytes.
    """

    number: int
    offset: int
    size: int
    data: bytes


def read_lines(stream: BinaryIO, limit: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """Lines of ``stream``, with at most ``limit`` bytes of a line plus one block in memory.

    A byte-order mark at the start of the file is skipped.
    """
    number, offset, size, kept = 1, 0, 0, bytearray()
    first = True
    while block := stream.read(_BLOCK_BYTES):
        if first and block.startswith(codecs.BOM_UTF8):
            block, offset = block[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
        first = False
        *whole, rest = block.split(b"\n")
        for piece in whole:
            size += len(piece)
            kept += piece[: limit - len(kept)]
            yield _line(number, offset, size, kept)
            number, offset, size = number + 1, offset + size + 1, 0
            kept = bytearray()
        size += len(rest)
        kept += rest[: limit - len(kept)]
    if size:
        yield _line(number, offset, size, kept)


def _line(number: int, offset: int, size: int, kept: bytearray) -> Line:
    data = bytes(kept)
    if len(data) == size and data.endswith(b"\r"):
        return Line(number, offset, size - 1, data[:-1])
    return Line(number, offset, size, data)


def decode_line(line: Line) -> str | RowProblem:
    """The text of ``line``, or the problem with it: it is too long, or not UTF-8."""
    if line.size > len(line.data):
        return RowProblem(
            "long_line",
            "",
            f"the line has {line.size:,} bytes, but a row may have at most {MAX_LINE_BYTES:,}.",
            "Check for a missing line break; split or remove the row.",
        )
    try:
        return line.data.decode("utf-8")
    except UnicodeDecodeError as error:
        encoding = _OTHER_ENCODINGS.get(line.data[:2]) if line.number == 1 else None
        looks = f" (the file looks like {encoding})" if encoding else ""
        return RowProblem(
            "not_utf8",
            "",
            f"byte 0x{line.data[error.start]:02x} at byte {line.offset + error.start} of the file "
            f"(byte {error.start} of the line) is not UTF-8{looks}.",
            "Save the file as UTF-8, for example with `iconv -f ENCODING -t UTF-8`.",
        )
