# SPDX-License-Identifier: Apache-2.0
"""The weights that a merge reads, in blocks of rows: a protocol, and the weights of a model folder."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from tadrib.training.errors import Problem, SpecError
from tadrib.training.files.regular_file import read_regular
from tadrib.training.model.source import TITLE
from tadrib.training.model.weight_files.tensor_file import Entry, read_entries

INDEX = "model.safetensors.index.json"
BLOCK_ELEMENTS = 2**22
"""Elements of a tensor that are worked on at a time: 16 MiB in float32."""


class Weights(Protocol):
    """Named tensors of one model. ``rows`` returns float32, or an integer tensor in its own dtype."""

    title: str

    @property
    def names(self) -> list[str]: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def dtype(self, name: str) -> torch.dtype: ...

    def rows(self, name: str, first: int, end: int) -> Tensor: ...


class FolderWeights:
    """The safetensors weights of a model ``folder``, in one file or in shards with an index.

    Raises SpecError if a file is missing or damaged, or lacks a tensor that the index places there.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self.title, self.folder = title, folder
        try:
            self._entries = _entries(folder)
        except (OSError, ValueError, TypeError, LookupError, RecursionError, SafetensorError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            at = f"{Path(error.filename).name}: " if isinstance(error, OSError) and error.filename else ""
            action = "Copy the folder again: it needs config.json and all *.safetensors files."
            raise SpecError(TITLE, [Problem(title, f"{at}{reason}.", action)]) from error

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entries[name].shape

    def dtype(self, name: str) -> torch.dtype:
        return self._entries[name].dtype

    def rows(self, name: str, first: int, end: int) -> Tensor:
        """Raises SpecError for NaN and infinity: a merge would spread them."""
        rows = self._entries[name].rows(first, end)
        if not rows.is_floating_point():
            return rows
        rows = rows.float()
        if not rows.sum(dtype=torch.float64).isfinite():
            message = f"has NaN or infinite values in {name}, which would spread."
            raise SpecError(TITLE, [Problem(self.title, message, "Use an earlier checkpoint of it.")])
        return rows


def row_ranges(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """First row and end of each block of a tensor; a scalar is one row."""
    rows = shape[0] if shape else 1
    step = max(1, BLOCK_ELEMENTS // max(1, math.prod(shape[1:])))
    yield from ((first, min(first + step, rows)) for first in range(0, rows, step))


def blocks(weights: Weights, name: str) -> Iterator[Tensor]:
    """All rows of a tensor, block by block."""
    yield from (weights.rows(name, first, end) for first, end in row_ranges(weights.shape(name)))


def _entries(folder: Path) -> dict[str, Entry]:
    index = folder / INDEX
    if not index.is_file():
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise ValueError("it has no *.safetensors file")
        return {name: entry for file in files for name, entry in read_entries(file).items()}
    placed: dict[str, str] = json.loads(read_regular(index))["weight_map"]
    if missing := sorted({file for file in placed.values() if not (folder / Path(file).name).is_file()}):
        raise ValueError(f"the shard {missing[0]}, one of {len(set(placed.values()))} in {INDEX}, is missing")
    found = {file: read_entries(folder / Path(file).name) for file in sorted(set(placed.values()))}
    for name, file in placed.items():
        if name not in found[file]:
            raise ValueError(f"{file} lacks {name}, which {INDEX} places there")
    return {name: found[file][name] for name, file in placed.items()}
