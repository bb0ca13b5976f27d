# SPDX-License-Identifier: Apache-2.0
"""Rows of typed tables: Parquet files, directories of the `datasets` library, and Hugging Face Hub datasets."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import DatasetDict, load_dataset, load_from_disk
from datasets.exceptions import DatasetsError
from fsspec.implementations.local import LocalFileSystem
from pyarrow import ArrowException
from pyarrow.parquet import ParquetFile

from tadrib.training.data.readers.compression import check_size
from tadrib.training.data.readers.locations import Location, unreadable
from tadrib.training.data.readers.raw_row import RawRow
from tadrib.training.errors import DataError, Problem, nearest

_BATCH_ROWS = 1000
_SAVED = ("state.json", "dataset_dict.json")  # written by `save_to_disk`
_LOAD_ERRORS = (DatasetsError, OSError, ValueError, LookupError, RuntimeError, TypeError, ArrowException)


def read_parquet(location: Location) -> Iterator[RawRow | None]:
    """Rows in file order, with one batch in memory at a time."""
    size, number, unpacked = location.size(), 0, 0
    with location.open() as stream:
        if not stream.seekable():
            stream = io.BytesIO(stream.read())
        if not stream.read(1):
            return
        stream.seek(0)
        try:
            for batch in ParquetFile(stream).iter_batches(batch_size=_BATCH_ROWS):
                unpacked += batch.nbytes + len(batch)
                check_size(unpacked, size)
                for value in batch.to_pylist():
                    number += 1
                    yield RawRow(number, _as_written(value))
        except (ArrowException, ValueError, OverflowError) as error:
            raise unreadable(location.name, error) from error


def read_directory(location: Location, split: str | None) -> Iterator[RawRow]:
    """Rows of a folder written by ``save_to_disk``, or of a folder with data files that `datasets` can load.

    A remote directory is first copied to a temporary folder.
    """
    if isinstance(location.filesystem, LocalFileSystem):
        yield from _read_local_directory(location.name, location.path, split)
        return
    with tempfile.TemporaryDirectory() as folder:
        location.filesystem.get(location.path.rstrip("/") + "/", folder, recursive=True)
        yield from _read_local_directory(location.name, folder, split)


def _read_local_directory(name: str, folder: str, split: str | None) -> Iterator[RawRow]:
    was_saved = any((Path(folder) / file).exists() for file in _SAVED)
    try:
        table: Any = load_from_disk(folder) if was_saved else load_dataset(folder, split=split or "train")
    except _LOAD_ERRORS as error:
        raise unreadable(name, error) from error
    if isinstance(table, DatasetDict):
        table = table[_known_split(name, split or "train", list(table))]
    yield from _rows(table)


def _known_split(name: str, split: str, splits: list[str]) -> str:
    if split in splits:
        return split
    folder = name.removesuffix(f":{split}")
    hint = nearest(split, splits) or splits[0]
    problem = Problem(name, f"has no split {split!r}; it has {', '.join(splits)}.", f"Write {folder}:{hint}.")
    raise DataError(name, [problem])


def read_hub(name: str, split: str) -> Iterator[RawRow]:
    """Rows of a Hub dataset, downloaded once to the Hugging Face cache. Code in a dataset is never executed."""
    try:
        table = load_dataset(name, split=split)
    except _LOAD_ERRORS as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        message = f"is not a local path, and the Hugging Face Hub does not provide it: {reason}."
        action = "Check the spelling and the network; for a private dataset, set HF_TOKEN."
        raise DataError(name, [Problem(name, message, action)]) from error
    yield from _rows(table)


def _rows(table: Any) -> Iterator[RawRow]:
    for start in range(0, len(table), _BATCH_ROWS):
        columns = table[start : start + _BATCH_ROWS]
        for offset, values in enumerate(zip(*columns.values(), strict=True)):
            yield RawRow(start + offset + 1, _as_written(dict(zip(columns, values, strict=True))))


def _as_written(row: dict[str, Any]) -> dict[str, Any]:
    """``row`` without the null fields of its structs: Arrow gives all structs of a column the same fields, and fills in
    nulls for those that a tool or message lacks."""
    return {column: _without_empty_fields(value) for column, value in row.items()}


def _without_empty_fields(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty_fields(item) for key, item in value.items() if item is not None}
    return [_without_empty_fields(item) for item in value] if isinstance(value, list) else value
