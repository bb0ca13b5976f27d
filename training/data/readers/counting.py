# SPDX-License-Identifier: Apache-2.0
"""The number of rows of a dataset where it can be told in seconds, to say how long reading will take."""

from __future__ import annotations

from pathlib import Path

from pyarrow import ArrowException
from pyarrow.parquet import ParquetFile

_LINES = (".jsonl", ".ndjson", ".csv", ".tsv")
_BLOCK_BYTES = 8 * 1024 * 1024


def count_rows(name: str) -> int:
    """About the number of rows of a local file, by its lines or what a Parquet file says; 0 where it is not known."""
    path = Path(name)
    try:
        if path.suffix.lower() == ".parquet" and path.is_file():
            return ParquetFile(path).metadata.num_rows
        if path.suffix.lower() in _LINES and path.is_file():
            with path.open("rb") as file:
                return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK_BYTES), b""))
    except (OSError, ArrowException):
        return 0
    return 0
