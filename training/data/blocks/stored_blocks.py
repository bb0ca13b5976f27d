# SPDX-License-Identifier: Apache-2.0
"""The blocks of prepared data, which stay in their store: a run keeps a list of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tadrib.training.config.locations import is_url
from tadrib.training.data.blocks.block_store import BlockFile, BlockStore
from tadrib.training.data.group_dataset import GroupBlocks

_FILE = "blocks.json"
_OWN = "blocks"


class StoredBlocks(GroupBlocks):
    """Groups in files of ``store``, numbered throughout: of each of several datasets the files, and its number of
    rows, as `Group.row` counts through all datasets."""

    def __init__(self, store: BlockStore, datasets: Sequence[tuple[Sequence[BlockFile], int]]) -> None:
        self._store, self._datasets = store, list(datasets)
        self._files = [file for files, _ in datasets for file in files]
        before = np.cumsum([0, *(rows for _, rows in datasets)])
        first_rows = [int(first) for first, (files, _) in zip(before, datasets, strict=False) for _ in files]
        super().__init__([file.groups for file in self._files], self._open, first_rows)

    def _open(self, block: int) -> pa.RecordBatch:
        return self._store.open(self._files[block])

    def save(self, folder: Path, target: Path) -> None:
        """Write the list of blocks to ``folder``, which is to become ``target``. Those of a temporary store are copied
        there as well."""
        location = self._store.location
        if self._store.is_temporary:
            location = _OWN
            (folder / _OWN).mkdir()
            for file in self._files:
                shutil.copy(self._store.path(file), folder / _OWN)
        elif not is_url(location):
            location = os.path.relpath(location, target)
        datasets = [
            {"rows": rows, "files": [file.model_dump() for file in files]} for files, rows in self._datasets
        ]
        record = {"location": location, "datasets": datasets}
        (folder / _FILE).write_text(json.dumps(record), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> StoredBlocks:
        """What ``save`` wrote."""
        record = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        location = record["location"]
        if not is_url(location):
            location = os.path.normpath(folder / location)
        datasets = [([BlockFile(**file) for file in d["files"]], d["rows"]) for d in record["datasets"]]
        return cls(BlockStore(location), datasets)

    def damage(self) -> str | None:
        """What is wrong with the first damaged block, as `BlockStore.damage` tells it; None if all are whole."""
        return next(filter(None, map(self._store.damage, self._files)), None)

    @property
    def is_remote(self) -> bool:
        return is_url(self._store.location)

    def bring(self, positions: np.ndarray) -> None:
        for block in np.unique(self.block_of(positions)).tolist():
            self._store.bring(self._files[block])
