# SPDX-License-Identifier: Apache-2.0
"""Safetensors files in parts: the header of one, and byte ranges of its tensors by ``pread``.

The format (https://github.com/huggingface/safetensors#format): the header's length (8 bytes, little-endian), the header
(JSON, by name ``dtype``, ``shape`` and ``data_offsets`` relative to its end), then the tensors without gaps. The
library maps whole files into memory instead, and every page read stays in the process's resident memory.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor of a file: its dtype and shape, and the offset of its first byte in the file."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def row_elements(self) -> int:
        return math.prod(self.shape[1:])

    def rows(self, first: int, end: int) -> Tensor:
        """Rows ``first`` to ``end`` along the first dimension, in the file's dtype; a scalar is one row.

        Raises OSError if the file ends before that.
        """
        width = self.row_elements * self.dtype.itemsize
        content = bytearray((end - first) * width)
        with self.file.open("rb", buffering=0) as file:
            if os.preadv(file.fileno(), [content], self.start + first * width) != len(content):
                raise OSError(f"{self.file} has become shorter while it was read")
        shape = (end - first, *self.shape[1:]) if self.shape else ()
        return (
            torch.frombuffer(content, dtype=self.dtype).reshape(shape)
            if content
            else torch.empty(shape, dtype=self.dtype)
        )

    def equals(self, other: Entry, rows_at_a_time: int = 1024) -> bool:
        """Whether both hold the same numbers."""
        if self.shape != other.shape:
            return False
        ends = [
            (first, min(first + rows_at_a_time, self.shape[0]))
            for first in range(0, self.shape[0], rows_at_a_time)
        ]
        return all(torch.equal(self.rows(*each), other.rows(*each)) for each in ends)


def read_entries(file: Path) -> dict[str, Entry]:
    """The tensors of ``file`` by name.

    Raises SafetensorError if it is incomplete or not of the format, and ValueError for a dtype of less than 8 bits.
    """
    with safe_open(file, framework="np"):  # checks lengths and offsets
        pass
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        header = json.loads(content.read(length))
    header.pop("__metadata__", None)
    if odd := [name for name, each in header.items() if each["dtype"] not in DTYPES]:
        raise ValueError(f"{odd[0]} has the dtype {header[odd[0]]['dtype']}, which cannot be merged")
    return {
        name: Entry(file, DTYPES[each["dtype"]], tuple(each["shape"]), 8 + length + each["data_offsets"][0])
        for name, each in header.items()
    }


def header_of(tensors: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> bytes:
    """The beginning of a file that holds ``tensors``, dtype and shape by name, in this order."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors begin aligned
    return len(text).to_bytes(8, "little") + text


def raw_bytes(block: Tensor) -> memoryview:
    """The bytes of a tensor as they stand in a file."""
    return block.contiguous().reshape(-1).view(torch.uint8).numpy().data


def total_bytes(tensors: Iterable[tuple[torch.dtype, tuple[int, ...]]]) -> int:
    return sum(math.prod(shape) * dtype.itemsize for dtype, shape in tensors)
