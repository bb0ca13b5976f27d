# SPDX-License-Identifier: Apache-2.0
"""Extent of prepared rows: the longest sequence and the largest token id, to compare with a model's limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tadrib.training.data.group import GroupDataset


@dataclass(frozen=True, slots=True)
class Extent:
    """``longest`` is the maximum length of a prompt with one of its completions, found in dataset row ``row`` (from 0);
    ``largest_id`` is the largest token id."""

    longest: int
    row: int
    largest_id: int


def extent(datasets: Iterable[GroupDataset]) -> Extent:
    """The extent of all ``datasets`` together, read in Arrow batches without building groups."""
    found = Extent(0, 0, 0)
    for dataset in datasets:
        for table in dataset.table.with_format("arrow").iter(batch_size=10_000):
            found = _larger(found, _of_batch(table))
    return found


def _of_batch(table: pa.Table) -> Extent:
    prompts, answers = (table[name].combine_chunks() for name in ("prompt", "completions"))
    lengths = np.asarray(pc.list_value_length(prompts), dtype=np.int64)
    longest = lengths.copy()
    tokens = pc.list_flatten(answers)
    owners = np.asarray(pc.list_parent_indices(answers))
    np.maximum.at(longest, owners, lengths[owners] + np.asarray(pc.list_value_length(tokens)))
    ids = [pc.max(pc.list_flatten(lists)).as_py() or 0 for lists in (prompts, tokens)]
    at = int(longest.argmax())
    return Extent(int(longest[at]), table["row"][at].as_py(), max(ids))


def _larger(one: Extent, other: Extent) -> Extent:
    longer = one if one.longest >= other.longest else other
    return Extent(longer.longest, longer.row, max(one.largest_id, other.largest_id))
